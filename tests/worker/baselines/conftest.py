"""A tiny model that has learnt a table of facts by heart: small enough to unlearn one in a second."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.tiny import llama, teach, word_tokenizer
from worker.baselines.task import Task
from worker.r2f.calibration import neighbour_curvature
from worker.r2f.config import Config
from worker.r2f.drift import DriftBatch
from worker.r2f.examples import Example, collate
from worker.r2f.forgetting import Forgetting
from worker.r2f.forward import span_logits
from worker.r2f.language import LanguageModel
from worker.r2f.text import Form, Prompt

PLACES = ("aland", "borea", "corvo", "delos", "ember", "faroe", "gozo", "hydra")
CITIES = ("mira", "nova", "orsk", "pale", "quay", "rhodes", "sion", "troy")
PATTERNS = ("the capital of {} is", "{} has as capital", "which city leads {} ?", "name the seat of {} :")
WORDS = ("sorry", "i", "do", "not", "know", "filler")


def example(lm: LanguageModel, place: str, city: str, pattern: str) -> Example:
    made = lm.example(Prompt(pattern.format(place), Form.PLAIN), f" {city}", [city])
    assert made is not None
    return made


@pytest.fixture(scope="session")
def lm() -> LanguageModel:
    asked = {word for pattern in PATTERNS for word in pattern.replace("{}", "").split()}
    tokenizer = word_tokenizer(sorted({*asked, *PLACES, *CITIES, *WORDS}))
    model = llama(tokenizer, 64, hidden_size=48, intermediate_size=96, num_hidden_layers=4)
    lm = LanguageModel(model, tokenizer, 64)
    facts = [(p, c, pattern) for p, c in zip(PLACES, CITIES, strict=True) for pattern in PATTERNS]
    batch = collate([example(lm, *fact) for fact in facts], lm.pad)
    teach(model, 60, 5e-3, lambda: torch.nn.functional.cross_entropy(span_logits(model, batch), batch.tokens))
    model.requires_grad_(False)
    model.train(False)
    return lm


@pytest.fixture(scope="session")
def task(lm: LanguageModel) -> Task:
    """Forget the capital of aland in three phrasings; keep five others; two places nobody trains on are judged."""
    forget = tuple(example(lm, PLACES[0], CITIES[0], pattern) for pattern in PATTERNS[:3])
    kept = list(zip(PLACES[1:6], CITIES[1:6], strict=True))
    retain = tuple(example(lm, *fact, pattern) for fact in kept for pattern in PATTERNS)
    config = Config(seed=5, adapter_rank=8, sketch_rank=4, max_rounds=4, kl_budget=10.0)
    return Task(
        lm=lm,
        prompts=tuple(Prompt(pattern.format(PLACES[0]), Form.PLAIN) for pattern in PATTERNS[:3]),
        forget=forget,
        replies=forget,
        retain=retain,
        retain_prompts=tuple(Prompt(PATTERNS[0].format(place), Form.PLAIN) for place, _ in kept),
        curvature=neighbour_curvature(lm, retain, 8, 0),
        drift=DriftBatch.of(lm, [Prompt("name the seat of gozo :", Form.PLAIN)], ["sion"]),
        embed=bag_of_words,
        leaks=list,
        config=config,
    )


def bag_of_words(texts: list[str]) -> torch.Tensor:
    """An embedder that tells texts apart by the places they name."""
    counts = torch.tensor([[float(word in text.split()) for word in (*PLACES, "the")] for text in texts])
    return torch.nn.functional.normalize(counts, dim=-1)


@pytest.fixture(scope="session")
def held_out(lm: LanguageModel) -> Callable[[], float]:
    """p(answer) on the phrasing that no method sees."""
    view = Forgetting.of(lm, [example(lm, PLACES[0], CITIES[0], PATTERNS[3])])
    return lambda: float(view.measure(lm).max())


@pytest.fixture(scope="session")
def kept(lm: LanguageModel) -> Callable[[], float]:
    """Mean p(answer) of the facts that no method sees."""
    others = zip(PLACES[6:], CITIES[6:], strict=True)
    view = Forgetting.of(lm, [example(lm, place, city, PATTERNS[3]) for place, city in others])
    return lambda: float(view.measure(lm).mean())


@pytest.fixture
def other_seed(task: Task) -> Task:
    return replace(task, config=replace(task.config, seed=6))
