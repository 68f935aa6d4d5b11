"""Tokenised examples: a sequence and the positions in it whose next token must be forgotten (or kept)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Example:
    """One sequence with a span.

    ``positions[i]`` is the place whose logits predict ``tokens[i]``; ``demoted[i]`` is the set of token ids that
    spell the same start of the answer (with and without space, case, aliases), ``tokens[i]`` among them.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    tokens: tuple[int, ...]
    demoted: tuple[tuple[int, ...], ...]
    target: int = 0


@dataclass(frozen=True)
class Batch:
    """Right-padded examples; S is the number of span positions over all of them."""

    ids: Tensor  # (n × T)
    mask: Tensor  # (n × T)
    rows: Tensor  # (S,) which example a span position belongs to
    positions: Tensor  # (S,)
    tokens: Tensor  # (S,)
    weights: Tensor  # (S,) mean over targets' views of the mean over span positions; sums to the number of targets
    firsts: Tensor  # (n,) index into S of each example's first span position


def collate(examples: Sequence[Example], pad: int, device: torch.device | str = "cpu") -> Batch:
    """Pad examples to one batch."""
    longest = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(examples), longest), dtype=torch.long)
    views = [example.target for example in examples]
    rows: list[int] = []
    positions: list[int] = []
    tokens: list[int] = []
    weights: list[float] = []
    firsts: list[int] = []
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        mask[row, : len(example.ids)] = 1
        firsts.append(len(rows))
        rows += [row] * len(example.positions)
        positions += example.positions
        tokens += example.tokens
        weights += [1.0 / (views.count(example.target) * len(example.positions))] * len(example.positions)
    return Batch(
        ids.to(device),
        mask.to(device),
        torch.tensor(rows, device=device),
        torch.tensor(positions, device=device),
        torch.tensor(tokens, device=device),
        torch.tensor(weights, device=device),
        torch.tensor(firsts, device=device),
    )


def demoted_mask(examples: Sequence[Example], vocabulary: int, device: torch.device | str = "cpu") -> Tensor:
    """The demoted token sets as a boolean mask (S × vocabulary)."""
    sets = [tokens for example in examples for tokens in example.demoted]
    mask = torch.zeros((len(sets), vocabulary), dtype=torch.bool)
    for row, tokens in enumerate(sets):
        mask[row, list(tokens)] = True
    return mask.to(device)
