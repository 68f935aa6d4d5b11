"""Does a decoder carry over? Decoders from several proxies on several targets (paper, tables 7 and 8, and eq. 8).

    r2f bench transfer [--data FOLDER] [--facts 4] [--out FILE.jsonl]
    r2f bench transfer --quick

Proxies are cuts of the served model in depth, and small models of other widths and families with its tokenizer, made
here and trained briefly on the statements of the packaged banks: Llama, Qwen2, and GPT-2, whose `Conv1D` sites store
their weights transposed. A decoder is fitted on each proxy's gradients of some relations, and judged on each target's
gradients of others. Then R2F forgets facts of the served model with each proxy's decoder, everything else equal.

Proposition 1 bounds a decoder's error on the target by its error on the proxy and a discrepancy between their gradient
distributions over the family of decoders. Beside both errors stands that discrepancy as these decoders see it: the
largest difference between target and proxy error over the decoders of the *other* proxies.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import torch
from torch import nn

from app.schemas import DeletionRequest
from benchmarks.cases import Case
from benchmarks.measures import Row, walked
from benchmarks.plots import plot as means
from benchmarks.provenance import commit
from benchmarks.proxies import SMALL, small, taught
from benchmarks.runs import NOT_KNOWN, rewrite, run
from benchmarks.tables import paired_table
from worker.loading import Loaded
from worker.r2f.decoder import Decoder, SpectralFilter
from worker.r2f.decoder_training import Cases, best_ridge, collect, cut, fit, ridge
from worker.r2f.language import LanguageModel
from worker.r2f.linearise import Linearise
from worker.train_decoder import VIEWS, facts_of

CUTS = (6, 12, 24)  # layers of the served model
TARGETS = ("served", "qwen2-192x6", "gpt2-256x4")
QUICK = ("llama-256x4",)
LEARNT = 3  # facts of each relation that a decoder is fitted on
JUDGED = 1  # of each other relation
STEPS = 300  # of the fit
WITHOUT = "no filter"
PROXIES = (*(f"cut-{layers}" for layers in CUTS), *SMALL)


@dataclass(frozen=True)
class Trained:
    """A proxy's decoder, its fixed ridge, and its gradients of the relations that nothing was fitted on."""

    weights: SpectralFilter
    ridge: float
    judged: Cases


def trained(lm: LanguageModel, rank: int) -> Trained:
    """Fit a decoder on a proxy."""
    cases = collect(lm, facts_of("decoder", LEARNT), rank=rank, views=VIEWS, seed=100)
    weights = fit(cases, steps=STEPS, seed=0, progress=lambda step, error: None)
    return Trained(weights, best_ridge(cases), judged(lm, rank))


def judged(lm: LanguageModel, rank: int) -> Cases:
    """A model's gradients of the relations that no decoder is fitted on."""
    return collect(lm, facts_of("free", JUDGED), rank=rank, views=VIEWS, seed=900)


def error(weights: SpectralFilter, cases: Cases) -> float:
    """The mean relative error of a decoder."""
    with torch.no_grad():
        return float(cases.error(weights(cases.features)).mean())


def fidelity(decoders: Mapping[str, Trained], targets: Mapping[str, Cases]) -> list[Row]:
    """Each decoder on each target, with the terms of Proposition 1."""
    rows: list[Row] = []
    for target, cases in targets.items():
        nothing = float(cases.error(torch.zeros_like(cases.sigma)).mean())
        for proxy, made in decoders.items():
            others = [one.weights for name, one in decoders.items() if name != proxy]
            apart = [abs(error(other, cases) - error(other, made.judged)) for other in others]
            rows.append(
                {
                    "method": proxy,
                    "target": target,
                    "error": error(made.weights, cases),
                    "ridge_error": float(cases.error(ridge(cases.sigma, made.ridge)).mean()),
                    "nothing_error": nothing,
                    "proxy_error": error(made.weights, made.judged),
                    "discrepancy": max(apart, default=None),
                }
            )
    return rows


def compare(
    loaded: Loaded,
    requests: Sequence[DeletionRequest],
    proxies: Sequence[str],
    *,
    wanted: int,
    out: Path,
    progress: Callable[[float], None],
) -> list[Row]:
    """Fit the decoders, forget facts with each, and judge each on each target; what is in the file is not run again."""
    rank, models = loaded.card.sketch_rank, {}
    for name in dict.fromkeys((*proxies, *TARGETS[1:])):
        models[name] = _proxy(loaded, name)
    decoders = {}
    for place, name in enumerate(proxies):
        progress(0.3 * place / len(proxies))
        decoders[name] = trained(models[name], rank)

    def measure(case: Case, unit: str) -> Row:
        config = replace(case.config, sketch_rank=rank)
        decode = Decoder(decoders[unit].weights) if unit in decoders else Decoder(_nothing())
        linearise = Linearise(loaded.lm, decode, config)
        return walked(loaded, case, case.kept, case.known, linearise, config, whole=False)

    rows = run(
        loaded,
        requests,
        [*proxies, WITHOUT],
        measure,
        settings={"bench": "transfer"},
        wanted=wanted,
        seeds=1,
        out=out,
        progress=lambda share: progress(0.3 + 0.6 * share),
        roundings=(),
    )
    rows = judged_all(
        rows,
        proxies,
        lambda name: decoders.get(name) or trained(_proxy(loaded, name), rank),
        lambda: {name: judged(loaded.lm if name == "served" else models[name], rank) for name in TARGETS},
        out,
    )
    progress(1.0)
    return rows


def judged_all(
    rows: list[Row],
    proxies: Sequence[str],
    train: Callable[[str], Trained],
    targets: Callable[[], Mapping[str, Cases]],
    out: Path,
) -> list[Row]:
    """The rows with every proxy's fidelity, the file's and the asked for, on every target.

    Where one is missing all are made again: a discrepancy is over the decoders of all the others.
    """
    there = [(row["method"], row["target"]) for row in rows if "target" in row]
    named = list(dict.fromkeys((*(str(proxy) for proxy, _ in there), *proxies)))
    if set(there) == set(product(named, TARGETS)):
        return rows
    fresh = fidelity({name: train(name) for name in named}, targets())
    rows = [row for row in rows if "target" not in row]
    rows += [{"fact": None, "seed": 0, "commit": commit(), **row} for row in fresh]
    rewrite(out, rows)
    return rows


def _proxy(loaded: Loaded, name: str) -> LanguageModel:
    if name.startswith("cut-"):
        return LanguageModel(
            cut(loaded.lm.model, int(name.removeprefix("cut-"))), loaded.lm.tokenizer, loaded.lm.context
        )
    made = small(name, loaded.lm)
    taught(made)
    return made


def _nothing() -> SpectralFilter:
    """A filter that trusts no direction."""
    weights = SpectralFilter().double()
    last = weights.net[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 50.0)
    return weights


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: errors with the terms of Proposition 1, then what the served model forgets with each decoder."""
    head = "| proxy | target | error, decoder | ridge | no filter | error on proxy | discrepancy seen | sum |"
    lines = ["Relative error ‖Ĝ − G‖² / ‖G‖², mean over sites and facts", "", head, "|---" * 8 + "|"]
    for row in rows:
        if "target" in row:
            names = ("error", "ridge_error", "nothing_error", "proxy_error", "discrepancy")
            figures = [_number(row[name]) for name in names]
            bound = _number(row["proxy_error"] + row["discrepancy"]) if row["discrepancy"] is not None else "–"  # type: ignore[operator]
            lines.append(f"| {row['method']} | {row['target']} | " + " | ".join((*figures, bound)) + " |")
    forgot = [row for row in rows if "target" not in row]
    if any(row["method"] != NOT_KNOWN for row in forgot):
        lines += ["", paired_table("decoder of proxy", forgot, lambda unit: WITHOUT)]
    return "\n".join(lines)


def _number(value: object) -> str:
    return "–" if value is None else f"{float(str(value)):.4f}"


def plot(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write the picture of what the served model forgets with each decoder."""
    means(
        [row for row in rows if "target" not in row],
        path,
    )
