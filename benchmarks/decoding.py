"""Does the decoder matter? Ways to recover a gradient, paired over facts, all else equal.

    r2f bench decoding --data FOLDER [--facts 60] [--rank 8] [--whole] [--out FILE.jsonl]
    r2f bench decoding --quick

Facts as in `r2f bench unlearning`. Each fact's views, neighbours and curvature are made once and shared by all ways;
sketch rank, adapter rank, damping, rounds and depth are the same for all. Sampled replies, rounding and relearning take
most of the time and are measured with --whole. The decoder is the one of the model's card for its own sketch rank, and
for another rank the same filter, which has no rank in its shape.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from app.models import Stage
from app.schemas import DeletionRequest
from benchmarks.cases import ROUNDINGS, Case, Row, judged, relearned, rounded, run, sampled
from benchmarks.tables import paired_table
from worker import pipeline
from worker.errors import NoStep
from worker.loading import Loaded
from worker.r2f import path
from worker.r2f.config import Config
from worker.r2f.decoder import Decoder, assemble, depth_of, spectrum
from worker.r2f.decoder_training import cut, ridge
from worker.r2f.forward import span_logits
from worker.r2f.gradients import Sketch, visiting
from worker.r2f.language import LanguageModel
from worker.r2f.lowrank import LowRank
from worker.r2f.regression import Regressions, train_regressions
from worker.r2f.sites import Site
from worker.train_decoder import FACTS, REGRESSION_RATE, REGRESSION_STEPS, VIEWS, facts_of

Linearise = Callable[[path.Forgetting], path.Linearisation]
# The first four see LoRA gradients at random factors, the next four at factors turned towards the gradient.
WAYS = (
    "lora_one_sided",
    "lora_two_sided",
    "ridge_random",
    "regression",
    "aligned_one_sided",
    "aligned_two_sided",
    "ridge",
    "decoder",
    "exact",
)
AT_RANDOM = WAYS[:4]
QUICK_WAYS = ("lora_two_sided", "decoder", "exact")
RIDGE_RANDOM = 0.06  # the λ that METHOD's trials found best at random factors
LAYERS = 12  # of the proxy of the regression


def compare(
    loaded: Loaded,
    requests: Sequence[DeletionRequest],
    ways: Sequence[str],
    ranks: Sequence[int],
    *,
    wanted: int,
    seeds: int,
    whole: bool,
    out: Path,
    progress: Callable[[float], None],
) -> list[Row]:
    """Run what is not in the file yet; the rows of all that is."""
    trained: dict[int, Regressions] = {}

    def measure(case: Case, unit: str) -> Row:
        way, rank = unit.rsplit("@", 1)
        config = replace(case.config, sketch_rank=int(rank))
        if way == "regression" and int(rank) not in trained:
            trained[int(rank)] = _regressions(loaded.lm, int(rank))
        started = time.perf_counter()
        try:
            walked = pipeline.unlearn(
                loaded,
                case.kept.curvature,
                case.known,
                linearise(way, loaded, config, trained.get(int(rank))),
                config,
                _quiet,
            )
        except NoStep:
            return {"failed": "NoStep"}
        update, _ = pipeline.shrink(loaded, case.kept.curvature, walked, config)
        row: Row = {"seconds": time.perf_counter() - started, "rounds": len(walked.steps)}
        row |= judged(loaded, case, update)
        if whole:
            row |= sampled(loaded, case, update) | rounded(loaded, case, update) | relearned(loaded, case, update)
        return row

    units = [f"{way}@{rank}" for rank in ranks for way in ways]
    return run(
        loaded,
        requests,
        units,
        measure,
        wanted=wanted,
        seeds=seeds,
        out=out,
        progress=progress,
        roundings=ROUNDINGS if whole else (),
    )


def _quiet(stage: Stage, fraction: float) -> None:
    return None


def _regressions(lm: LanguageModel, rank: int) -> Regressions:
    proxy = LanguageModel(cut(lm.model, LAYERS), lm.tokenizer, lm.context)
    facts = facts_of("decoder", FACTS)
    return train_regressions(
        proxy, facts, rank=rank, views=VIEWS, rate=REGRESSION_RATE, steps=REGRESSION_STEPS, seed=100
    )


def linearise(way: str, loaded: Loaded, config: Config, regressions: Regressions | None) -> Linearise:
    """A way's first-order view of the model."""
    lm = loaded.lm
    if way == "exact":
        return Exact(lm)
    if way == "regression":
        assert regressions is not None
        factors = {site.name: regressions.factors(site) for site in lm.sites}
        return path.Linearise(lm, regressions, config, align=False, factors=factors)
    decode: dict[str, path.Decode] = {
        "lora_one_sided": _one_sided,
        "aligned_one_sided": _one_sided,
        "lora_two_sided": _filtered(torch.zeros_like),
        "aligned_two_sided": _filtered(torch.zeros_like),
        "ridge_random": _filtered(lambda sigma: ridge(sigma, RIDGE_RANDOM)),
        "ridge": _filtered(lambda sigma: ridge(sigma, loaded.card.ridge)),
        "decoder": loaded.decoder,
    }
    return path.Linearise(
        lm, decode[way], config, align=way not in ("lora_one_sided", "lora_two_sided", "ridge_random")
    )


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

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm

    def __call__(self, views: path.Forgetting) -> path.Linearisation:
        """See path.Linearise."""
        taken: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

        def visit(site: Site, x: torch.Tensor, d: torch.Tensor) -> None:
            taken.setdefault(site.name, []).append((x, d))

        with torch.enable_grad(), visiting(self._lm.model, self._lm.sites, visit):
            logits = span_logits(self._lm.model, views.batch)
            pull = views.backward(logits)
        exact = {
            name: LowRank(torch.cat([d for _, d in parts]).T, torch.cat([x for x, _ in parts])).truncated(64)
            for name, parts in taken.items()
        }
        return path.Linearisation(views.answer(logits), float(pull), exact)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: means over facts with intervals, and what each way has more than the decoder at its rank, paired."""
    return paired_table("way @ sketch rank", rows, lambda unit: f"decoder@{unit.rsplit('@', 1)[1]}")
