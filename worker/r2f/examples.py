"""Tokenised examples: a sequence and the positions in it whose next token must be forgotten (or kept)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Example:
    """One sequence with a span.

    ``positions[i]`` is the place whose logits predict ``tokens[i]``; ``demoted[i]`` is the set of token ids that
    spell the same start of the answer (with and without space, case, aliases), ``tokens[i]`` among them. The answer's
    probability is that of the tokens ``telling``, one after the other (worker/r2f/telling.py).
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    tokens: tuple[int, ...]
    demoted: tuple[tuple[int, ...], ...]
    target: int = 0
    telling: tuple[int, ...] = (0,)  # indices into ``tokens``


@dataclass(frozen=True)
class Batch:
    """Right-padded examples behind a prefix that many of them share; S is the number of all their span positions.

    The prefix (a chat template's opening, k tokens) goes through the model once. Rows that start otherwise have it
    masked out, and all of their tokens in ``ids``.
    """

    prefix: Tensor  # (k,), empty where nothing is shared
    ids: Tensor  # (n × T) what follows the prefix
    mask: Tensor  # (n × (k + T))
    places: Tensor  # (n × T) position ids
    rows: Tensor  # (S,) which example a span position belongs to
    positions: Tensor  # (S,) column of ``ids``
    tokens: Tensor  # (S,)
    weights: Tensor  # (S,) mean over targets' views of the mean over span positions; sums to the number of targets
    firsts: Tensor  # (n,) index into S of each example's first span position
    telling: Tensor  # (S,) bool, which span positions tell the answer

    def spans(self, rows: Tensor) -> Tensor:
        """Which span positions some rows have, (S,) bool."""
        return torch.isin(self.rows, rows)

    def only(self, rows: Tensor) -> "Batch":
        """Some rows, in ascending order."""
        spans = self.spans(rows)
        own = self.rows[spans]
        firsts = torch.cumsum(spans, 0)[self.firsts[rows]] - 1
        longest = int(self.mask[rows, len(self.prefix) :].sum(1).max())
        return Batch(
            self.prefix,
            self.ids[rows, :longest],
            self.mask[rows, : len(self.prefix) + longest],
            self.places[rows, :longest],
            torch.searchsorted(rows, own),
            self.positions[spans],
            self.tokens[spans],
            self.weights[spans],
            firsts,
            self.telling[spans],
        )


def collate(
    examples: Sequence[Example], pad: int, device: torch.device | str = "cpu", prefix: Sequence[int] = ()
) -> Batch:
    """Pad examples to one batch.

    Args:
        prefix: tokens that many of the examples start with.
    """
    k = len(prefix)
    shared = [k * (e.ids[:k] == tuple(prefix) and e.positions[0] >= k) for e in examples]  # 0 or k tokens each
    longest = max(len(e.ids) - share for e, share in zip(examples, shared, strict=True))
    ids = torch.full((len(examples), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(examples), k + longest), dtype=torch.long)
    views = [example.target for example in examples]
    rows: list[int] = []
    positions: list[int] = []
    tokens: list[int] = []
    weights: list[float] = []
    firsts: list[int] = []
    telling: list[bool] = []
    for row, (example, share) in enumerate(zip(examples, shared, strict=True)):
        own = example.ids[share:]
        ids[row, : len(own)] = torch.tensor(own)
        mask[row, k - share : k] = 1
        mask[row, k : k + len(own)] = 1
        firsts.append(len(rows))
        rows += [row] * len(example.positions)
        positions += [position - share for position in example.positions]
        tokens += example.tokens
        telling += [n in example.telling for n in range(len(example.tokens))]
        weights += [1.0 / (views.count(example.target) * len(example.positions))] * len(example.positions)
    return Batch(
        torch.tensor(list(prefix), dtype=torch.long, device=device),
        ids.to(device),
        mask.to(device),
        (torch.tensor(shared)[:, None] + torch.arange(longest)).to(device),
        torch.tensor(rows, device=device),
        torch.tensor(positions, device=device),
        torch.tensor(tokens, device=device),
        torch.tensor(weights, device=device),
        torch.tensor(firsts, device=device),
        torch.tensor(telling, device=device),
    )


def demoted_mask(examples: Sequence[Example], vocabulary: int, device: torch.device | str = "cpu") -> Tensor:
    """The demoted token sets as a boolean mask (S × vocabulary)."""
    sets = [tokens for example in examples for tokens in example.demoted]
    mask = torch.zeros((len(sets), vocabulary), dtype=torch.bool)
    for row, tokens in enumerate(sets):
        mask[row, list(tokens)] = True
    return mask.to(device)
