"""Examples in one row: the tokens that all begin with stand once, and none sees another's.

Chat turns share a long opening (the template's system message), which in rows of their own would be half of the work.
Exact: a test compares it with one row for each example.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.r2f.examples import Example


@dataclass(frozen=True)
class Layout:
    """Where the tokens of packed examples stand; T tokens, S span positions."""

    places: Tensor  # (1 × T) each token's place in its own example
    mask: Tensor  # (1 × 1 × T × T) which tokens (last axis) a token sees
    owners: Tensor  # (T,) 0: the common opening, n + 1: example n
    positions: Tensor  # (S,)
    tokens: Tensor  # (S,)


def opening(examples: Sequence[Example]) -> tuple[int, ...]:
    """The tokens that all examples begin with, and that come before every span."""
    first, longest = examples[0].ids, min(example.positions[0] for example in examples)
    same = (n for n in range(longest) if any(example.ids[n] != first[n] for example in examples))
    return first[: next(same, longest)]


def layout(examples: Sequence[Example], common: int, device: torch.device) -> Layout:
    """Pack examples whose first ``common`` tokens are the same."""
    places, owners = list(range(common)), [0] * common
    positions: list[int] = []
    for number, example in enumerate(examples, start=1):
        shift = len(places) - common
        positions += [position + shift for position in example.positions]
        places += range(common, len(example.ids))
        owners += [number] * (len(example.ids) - common)
    owner = torch.tensor(owners, device=device)
    index = torch.arange(len(owners), device=device)
    seen = (index[None, :] <= index[:, None]) & ((owner[None, :] == 0) | (owner[None, :] == owner[:, None]))
    return Layout(
        torch.tensor([places], device=device),
        seen[None, None],
        owner,
        torch.tensor(positions, device=device),
        torch.tensor([token for example in examples for token in example.tokens], device=device),
    )


def ids(examples: Sequence[Example], common: int, device: torch.device) -> Tensor:
    """The packed tokens (1 × T)."""
    tails = (token for example in examples for token in example.ids[common:])
    return torch.tensor([[*examples[0].ids[:common], *tails]], device=device)
