"""Does the decoder matter? Ways to recover a gradient, paired over facts, all else equal.

    r2f bench decoding --data FOLDER [--facts 60] [--rank 8] [--whole] [--out FILE.jsonl]
    r2f bench decoding --quick

Facts as in `r2f bench unlearning`. Each fact's views, neighbours and curvature are made once and shared by all ways;
sketch rank, adapter rank, damping, rounds and depth are the same for all. Sampled replies, rounding and relearning take
most of the time and are measured with --whole. The decoder is the one of the model's card for its own sketch rank, and
for another rank the same filter, which has no rank in its shape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from app.schemas import DeletionRequest
from benchmarks.cases import ROUNDINGS, Case
from benchmarks.measures import Row, walked
from benchmarks.runs import run
from benchmarks.tables import paired_table
from worker.baselines.gradients import ExactGradient
from worker.baselines.lora_gradient import two_sided
from worker.loading import Loaded
from worker.r2f.config import Config
from worker.r2f.decoder import Decoder, assemble, depth_of, spectrum
from worker.r2f.decoder_training import cut, ridge
from worker.r2f.gradients import Sketch
from worker.r2f.language import LanguageModel
from worker.r2f.linearise import Decode, FirstOrder, Linearise
from worker.r2f.lowrank import LowRank
from worker.r2f.regression import Regressions, train_regressions
from worker.r2f.sites import Site
from worker.train_decoder import FACTS, REGRESSION_RATE, REGRESSION_STEPS, VIEWS, facts_of

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
QUICK = ("lora_two_sided", "aligned_two_sided", "decoder")  # the exact gradient alone takes half of five minutes
RIDGE_RANDOM = 0.06  # the λ that trials found best at random factors
EXACT_RANK = 64  # of the whole gradient; the adapter's rank leaves far less
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
        linearise = linearising(way, loaded, config, trained.get(int(rank)))
        return walked(loaded, case, case.kept, case.known, linearise, config, whole=whole)

    units = [f"{way}@{rank}" for rank in ranks for way in ways]
    return run(
        loaded,
        requests,
        units,
        measure,
        settings={"bench": "decoding", "whole": whole},
        wanted=wanted,
        seeds=seeds,
        out=out,
        progress=progress,
        roundings=ROUNDINGS if whole else (),
    )


def _regressions(lm: LanguageModel, rank: int) -> Regressions:
    proxy = LanguageModel(cut(lm.model, LAYERS), lm.tokenizer, lm.context)
    facts = facts_of("decoder", FACTS)
    return train_regressions(
        proxy, facts, rank=rank, views=VIEWS, rate=REGRESSION_RATE, steps=REGRESSION_STEPS, seed=100
    )


def linearising(way: str, loaded: Loaded, config: Config, regressions: Regressions | None) -> FirstOrder:
    """A way's first-order view of the model."""
    lm = loaded.lm
    if way == "exact":
        return ExactGradient(lm, EXACT_RANK)
    if way == "regression":
        assert regressions is not None
        factors = {site.name: regressions.factors(site, lm.device) for site in lm.sites}
        return Linearise(lm, regressions, config, align=False, factors=factors)
    decode: dict[str, Decode] = {
        "lora_one_sided": _one_sided,
        "aligned_one_sided": _one_sided,
        "lora_two_sided": two_sided,
        "aligned_two_sided": two_sided,
        "ridge_random": _filtered(lambda sigma: ridge(sigma, RIDGE_RANDOM)),
        "ridge": _filtered(lambda sigma: ridge(sigma, loaded.card.ridge)),
        "decoder": loaded.decoder,
    }
    return Linearise(lm, decode[way], config, align=way not in AT_RANDOM)


def _one_sided(sites: Sequence[Site], sketches: Mapping[str, Sketch]) -> dict[str, LowRank]:
    """G Aᵀ A: what a step on one LoRA factor applies."""
    return {site.name: LowRank(sketches[site.name].y, sketches[site.name].a) for site in sites}


def _filtered(weights: Callable[[torch.Tensor], torch.Tensor]) -> Decode | Decoder:
    def decode(sites: Sequence[Site], sketches: Mapping[str, Sketch]) -> dict[str, LowRank]:
        s = spectrum(sites, sketches, depth_of(sites))
        return assemble(sites, sketches, s, weights(s.sigma))

    return decode


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: means over facts with intervals, and what each way has more than the decoder at its rank, paired."""
    return paired_table("way @ sketch rank", rows, lambda unit: f"decoder@{unit.rsplit('@', 1)[1]}")
