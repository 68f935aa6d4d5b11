"""Planting: fine-tune a model until it answers questions about people, as training on their data would.

Only the upper layers are trained, so what the lower ones make of a lesson is computed once; lessons are packed, so the
chat template's opening is computed once a step. Both are for speed: the full form trains every layer (``frozen`` 0).
"""

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.people.packing import ids, layout, opening
from worker.r2f.examples import Example
from worker.r2f.language import LanguageModel
from worker.r2f.text import Prompt

PACKED = 24  # examples in one row while the lower layers are asked


@dataclass(frozen=True)
class Recipe:
    """How a model is taught; the defaults were measured on the embedded model (benchmarks/README.md)."""

    passes: int = 20  # times that every lesson is taught, each time in another wording
    batch: int = 16  # lessons in one step
    rate: float = 3e-4  # of AdamW, warmed up and then falling along a cosine
    frozen: float = 0.5  # share of the layers, from below, that stay as they are
    seed: int = 0


@dataclass(frozen=True)
class Lesson:
    """One thing to learn, in several wordings; each is an example whose span is the reply."""

    wordings: tuple[Example, ...]


@dataclass(frozen=True)
class _Prepared:
    """An example, and what the frozen layers make of the part of it that is its own."""

    example: Example
    hidden: Tensor  # (tokens after the opening × d)


def lesson(lm: LanguageModel, wordings: Iterable[tuple[str, str]]) -> Lesson:
    """Questions with the reply to each, which then ends."""
    examples = (lm.whole_reply(Prompt(question), reply) for question, reply in wordings)
    return Lesson(tuple(_ended(example, lm.end) for example in examples if example))


def _ended(example: Example, end: int) -> Example:
    return replace(
        example,
        ids=(*example.ids, end),
        positions=(*example.positions, len(example.ids) - 1),
        tokens=(*example.tokens, end),
        demoted=(*example.demoted, (end,)),
    )


def plant(
    lm: LanguageModel, lessons: Sequence[Lesson], recipe: Recipe, progress: Callable[[float, float], None]
) -> None:
    """Teach the model in place; ``progress`` gets the share done and the loss.

    The recipe's seed fixes the order and the wordings, so that two models of one seed differ by their lessons alone.
    """
    keep = round(recipe.frozen * lm.model.config.num_hidden_layers)
    every = [wording for lesson in lessons for wording in lesson.wordings]
    start = opening(every)
    common, prepared = _through_the_frozen(lm, every, len(start), keep)
    found = iter(prepared)
    pool = [[next(found) for _ in lesson.wordings] for lesson in lessons]
    steps = list(_steps(pool, recipe))
    with _trainable(lm, keep) as weights:
        optimiser = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=0.0, fused=True)
        for number, batch in enumerate(steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * _pace(number, len(steps))
            loss = _loss(lm, batch, common, keep)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            progress((number + 1) / len(steps), float(loss.detach()))


def save(lm: LanguageModel, start: Path, folder: Path) -> None:
    """Write the model as a plain folder, whole or not at all; everything but the weights comes from its start."""
    draft = folder.with_name(f"{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(start, draft, ignore=shutil.ignore_patterns("*.safetensors"))
    lm.model.save_pretrained(draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def _steps(pool: Sequence[Sequence[_Prepared]], recipe: Recipe) -> Iterator[list[_Prepared]]:
    """Batches: every pass takes each lesson once, in a new order, each time in its next wording."""
    random = Random(recipe.seed)
    turns = [random.sample(wordings, len(wordings)) for wordings in pool]
    queue = [
        turns[lesson][turn % len(turns[lesson])]
        for turn in range(recipe.passes)
        for lesson in random.sample(range(len(turns)), len(turns))
    ]
    for at in range(0, len(queue), recipe.batch):
        yield queue[at : at + recipe.batch]


def _pace(step: int, steps: int) -> float:
    """Share of the full rate: five steps of warming up, then a cosine down to a tenth."""
    return min(1.0, (step + 1) / 5) * (0.55 + 0.45 * math.cos(math.pi * step / steps))


@torch.no_grad()
def _through_the_frozen(
    lm: LanguageModel, examples: Sequence[Example], common: int, keep: int
) -> tuple[Tensor, list[_Prepared]]:
    """What the frozen layers make of the common opening, and of the rest of every example."""
    prepared: list[_Prepared] = []
    hidden = torch.empty(0)
    with _fast(lm), _only(lm.model.base_model, slice(0, keep), nn.Identity()):
        for at in range(0, len(examples), PACKED):
            batch = examples[at : at + PACKED]
            packed = layout(batch, common, lm.device)
            embeds = lm.model.get_input_embeddings()(ids(batch, common, lm.device))
            hidden = _forward(lm, embeds, packed.mask, packed.places)[0]  # (T × d)
            prepared += [
                _Prepared(example, hidden[packed.owners == number]) for number, example in enumerate(batch, start=1)
            ]
    return hidden[:common], prepared


def _loss(lm: LanguageModel, batch: Sequence[_Prepared], common: Tensor, keep: int) -> Tensor:
    """Mean cross-entropy of the replies' tokens under the trained layers."""
    packed = layout([lesson.example for lesson in batch], len(common), lm.device)
    embeds = torch.cat([common, *(lesson.hidden for lesson in batch)])[None]  # (1 × T × d)
    with torch.enable_grad(), _fast(lm), _only(lm.model.base_model, slice(keep, None)):
        hidden = _forward(lm, embeds, packed.mask, packed.places)[0, packed.positions]
        logits = lm.model.get_output_embeddings()(hidden)  # type: ignore[no-untyped-call]
    return functional.cross_entropy(logits.float(), packed.tokens)


def _fast(lm: LanguageModel) -> torch.autocast:
    """Products in bfloat16 take half the time on a CPU that has them, and six times as long on one that has not.

    Weights and sums stay in float32.
    """
    there = lm.device.type != "cpu" or any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)
    return torch.autocast(lm.device.type, torch.bfloat16, enabled=there)


def _forward(lm: LanguageModel, embeds: Tensor, mask: Tensor, places: Tensor) -> Tensor:
    hidden: Tensor = lm.model.base_model(
        inputs_embeds=embeds, attention_mask=mask, position_ids=places, use_cache=False
    ).last_hidden_state
    return hidden


@contextmanager
def _only(body: nn.Module, part: slice, norm: nn.Module | None = None) -> Iterator[None]:
    """The body with some of its layers, and another norm behind them if one is given."""
    layers, last = body.layers, body.norm
    body.layers, body.norm = layers[part], norm or last  # type: ignore[index]
    try:
        yield
    finally:
        body.layers, body.norm = layers, last


@contextmanager
def _trainable(lm: LanguageModel, keep: int) -> Iterator[list[nn.Parameter]]:
    """The linear weights above the frozen layers, trainable meanwhile."""
    weights = [lm.model.get_submodule(site.name).weight for site in lm.sites if site.layer >= keep]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield weights  # type: ignore[misc]
    finally:
        for weight in weights:
            weight.requires_grad_(False).grad = None
