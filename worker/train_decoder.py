"""``r2f decoder train``: fit a decoder on a cut of the served model and judge it on relations that it never saw."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from app.models import ServedModel
from app.settings import Settings
from worker.loading import load_language_model, prepare
from worker.r2f import decoders
from worker.r2f.banks import BankFact, Relation, relations
from worker.r2f.decoder import Decoder, depth_of
from worker.r2f.decoder_training import best_ridge, collect, cut, examples_of, fit
from worker.r2f.fidelity import Guess, Hindsight, Reconstructions, Scalars, audit, summarise
from worker.r2f.forgetting import backpropagate
from worker.r2f.gradients import drawn_factors
from worker.r2f.language import LanguageModel
from worker.r2f.losses import cross_entropy
from worker.r2f.regression import train_regressions
from worker.r2f.sites import MODULES

Fact = tuple[Relation, BankFact]
VIEWS = 5
FACTS = 12  # of each training relation
JUDGED = 2  # of each relation that the decoder never saw
REGRESSION_RATE = 3e-4
REGRESSION_STEPS = 150


def train(
    served: ServedModel,
    settings: Settings,
    *,
    rank: int,
    layers: int,
    steps: int,
    seed: int,
    folder: Path = decoders.FOLDER,
    notice: Callable[[str], None],
) -> decoders.Card:
    """Fit, judge and write a decoder named ``spectral-r<rank>``."""
    device = torch.device("cuda" if torch.cuda.is_available() and settings.device != "cpu" else "cpu")
    lm = load_language_model(prepare(served, settings), served.context_length, device, torch.float32)
    proxy = LanguageModel(cut(lm.model, layers), lm.tokenizer, lm.context)
    facts = facts_of("decoder", FACTS)
    notice(f"collecting gradients of {len(facts)} facts on a proxy of {layers} layers")
    cases = collect(proxy, facts, rank=rank, views=VIEWS, seed=seed + 100)
    share = best_ridge(cases)
    notice(f"best fixed ridge on the proxy: {share}; fitting {len(cases.energy)} cases")
    weights = fit(cases, steps=steps, seed=seed, progress=lambda step, error: None)
    notice(f"fitting the paper's kind of decoder, {REGRESSION_STEPS} steps for each of {len(MODULES)} kinds of modules")
    regressions = train_regressions(
        proxy, facts, rank=rank, views=VIEWS, rate=REGRESSION_RATE, steps=REGRESSION_STEPS, seed=seed + 100
    )
    judged = facts_of("free", JUDGED)
    notice(f"judging on {len(judged)} facts of other relations on the whole model")
    factors, deep = drawn_factors(lm.sites, rank, seed + 900, device), depth_of(lm.sites)
    guesses: list[Guess] = [
        Reconstructions(Decoder(weights), share, factors, deep),
        Hindsight(factors, deep),
        regressions.guess,
    ]
    card = decoders.Card(
        name=f"spectral-r{rank}",
        sketch_rank=rank,
        proxy=f"the first {layers} layers of {served.id}",
        data=f"{len(facts)} facts of {len(relations('decoder'))} relations, {VIEWS} views each; "
        f"judged on {len(judged)} facts of {len(relations('free'))} other relations",
        steps=steps,
        seed=seed,
        ridge=share,
        digest="",
        fidelity=_judge(lm, guesses, judged),
    )
    return decoders.save(weights, card, folder)


def facts_of(split: str, each: int) -> list[Fact]:
    """The first facts of every relation of a split."""
    return [(relation, fact) for relation in relations(split) for fact in relation.facts[:each]]


def _judge(lm: LanguageModel, guesses: Sequence[Guess], facts: list[Fact]) -> dict[str, dict[str, float]]:
    """The fidelity table: every method's figures over all sites of all facts."""
    sites: dict[str, list[Scalars]] = {}
    for relation, fact in facts:
        examples = examples_of(lm, relation, fact, VIEWS)
        found = audit(lm, guesses, partial(backpropagate, lm, examples, cross_entropy))
        for method, scalars in found.sites.items():
            sites.setdefault(method, []).extend(scalars.values())
    return {method: asdict(summarise(scalars)) for method, scalars in sites.items()}
