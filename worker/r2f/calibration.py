"""A model's calibration: its generic curvature and its own replies to generic prompts. Computed once, cached."""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from worker.r2f.banks import generic
from worker.r2f.curvature import Curvature, CurvatureSketch, Moment
from worker.r2f.examples import Example, collate
from worker.r2f.forward import span_logits
from worker.r2f.gradients import visiting
from worker.r2f.language import LanguageModel
from worker.r2f.losses import cross_entropy
from worker.r2f.text import Prompt

BATCH_TOKENS = 1024  # of one forward and backward pass


@dataclass(frozen=True)
class CalibrationConfig:
    """What the generic curvature is made of."""

    tokens: int = 20_000  # at least: the model's own sampled replies and the prompts before them
    reply_tokens: int = 160
    rank: int = 32  # low-rank part of every moment
    seed: int = 0


def calibrate(lm: LanguageModel, config: CalibrationConfig, progress: Callable[[float], None]) -> Curvature:
    """The generic curvature from prompts of the bank and the model's own sampled replies; no training data.

    Args:
        progress: called with the share done, 0–1.
    """
    prompts = [Prompt(text) for text in generic().calibration]
    examples: list[Example] = []
    turn, seen = 0, 0
    while seen < config.tokens:
        # a step of generation costs the weights' way through memory, however many rows share it: large batches
        chosen = prompts[turn % 2 :: 2]
        replies = lm.samples(chosen, config.reply_tokens, seed=config.seed + turn, batch=len(chosen))
        fresh = (lm.whole_reply(prompt, reply) for prompt, reply in zip(chosen, replies, strict=True))
        for example in fresh:
            if example and seen < config.tokens:
                examples.append(example)
                seen += len(example.ids)
        turn += 1
        if turn == 4 and not seen:
            raise ValueError("The model's replies to every calibration prompt are empty.")
        progress(0.45 * min(1.0, seen / config.tokens))
    sketch = CurvatureSketch(lm.sites, config.rank, config.seed, lm.device)
    batches = _batches(sorted(examples, key=lambda example: len(example.ids)))
    for n, batch in enumerate(batches, start=1):
        accumulate(lm, batch, sketch, cross_entropy)
        progress(0.45 + 0.5 * n / len(batches))
    curvature = sketch.curvature()
    progress(1.0)
    return curvature


def log_odds(logits: Tensor, tokens: Tensor, demoted: Tensor) -> Tensor:
    """−log(p / (1 − p)) of the tokens.

    The cross-entropy's gradient vanishes where the model is sure, and so would the protection of just those neighbours
    that it knows best; the log-odds' does not.
    """
    chosen = logits.gather(-1, tokens[:, None])
    rest = logits.scatter(-1, tokens[:, None], -torch.inf).logsumexp(-1)
    return rest - chosen.squeeze(-1)


def neighbour_curvature(lm: LanguageModel, examples: Sequence[Example], rank: int, seed: int) -> Curvature:
    """The curvature of neighbours' replies, from the gradient of their log-odds."""
    sketch = CurvatureSketch(lm.sites, rank, seed, lm.device)
    for batch in _batches(sorted(examples, key=lambda example: len(example.ids))):
        accumulate(lm, batch, sketch, log_odds, lm.opening)
    return sketch.curvature()


def accumulate(
    lm: LanguageModel,
    examples: Sequence[Example],
    sketch: CurvatureSketch,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    opening: Sequence[int] = (),
) -> None:
    """One forward and backward pass of the summed loss over whole replies.

    Args:
        opening: tokens that many of them start with. They are seen once a pass, with the sum of the replies' gradients
            as in a deletion's own gradient, where each reply's by itself would be seen without it.
    """
    batch = collate(examples, lm.pad, lm.device, opening)
    with torch.enable_grad(), visiting(lm.model, lm.sites, sketch):
        logits = span_logits(lm.model, batch)
        loss(logits, batch.tokens, torch.empty(0)).sum().backward()  # type: ignore[no-untyped-call]


def _batches(examples: Sequence[Example]) -> list[list[Example]]:
    """Runs of examples, sorted by length, of at most BATCH_TOKENS padded tokens."""
    batches: list[list[Example]] = []
    for example in examples:
        if not batches or (len(batches[-1]) + 1) * len(example.ids) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(example)
    return batches


def save(curvature: Curvature, path: Path) -> None:
    """Write a curvature to a file, whole or not at all."""
    tensors = {}
    for part, moments in (("in", curvature.inputs), ("out", curvature.outputs)):
        for name, moment in moments.items():
            tensors[f"{part}|{name}|u"], tensors[f"{part}|{name}|rest"] = moment.u.contiguous(), moment.rest
    draft = path.with_suffix(f".{secrets.token_hex(4)}.draft")  # another worker may be writing too
    save_file(tensors, draft)
    draft.replace(path)


def load(path: Path, device: torch.device | str) -> Curvature:
    """Read a curvature that ``save`` wrote."""
    parts: dict[str, dict[str, Moment]] = {"in": {}, "out": {}}
    with safe_open(path, framework="pt", device=str(device)) as file:
        for key in file.keys():  # noqa: SIM118 (not a dict)
            part, name, which = key.split("|")
            if which == "u":
                parts[part][name] = Moment(file.get_tensor(key), file.get_tensor(f"{part}|{name}|rest"))
    return Curvature(parts["in"], parts["out"])


def digest(curvature: Curvature) -> str:
    """sha256 over all moments, in order of their names."""
    state = hashlib.sha256()
    for moments in (curvature.inputs, curvature.outputs):
        for name in sorted(moments):
            state.update(name.encode())
            state.update(moments[name].u.cpu().contiguous().numpy().tobytes())
            state.update(moments[name].rest.cpu().numpy().tobytes())
    return state.hexdigest()
