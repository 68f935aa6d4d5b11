"""Unlearning losses on the logits at span positions. Each maps (S × V) logits to S losses."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# (logits S × V, tokens S, demoted S × V bool) -> losses S
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def softened(logits: Tensor, tokens: Tensor, demoted: Tensor) -> Tensor:
    """Cross-entropy to the model's own distribution without the demoted tokens (paper, footnote to eq. 3).

    The gradient at the logits is p − p̃: only the memorised tokens are pushed, the rest anchors itself.
    """
    target = torch.softmax(logits.detach().masked_fill(demoted, -math.inf), dim=-1)
    # softmax gives exact zeros at the demoted tokens, and 0 · log p = 0 for every finite log p
    return -(target * torch.log_softmax(logits, dim=-1)).sum(-1)


def ascent(logits: Tensor, tokens: Tensor, demoted: Tensor) -> Tensor:
    """Gradient ascent on the memorised tokens: +log p (Jang et al., arXiv 2210.01504)."""
    return torch.log_softmax(logits, dim=-1).gather(-1, tokens[:, None]).squeeze(-1)


def uniform(logits: Tensor, tokens: Tensor, demoted: Tensor) -> Tensor:
    """Cross-entropy to the uniform distribution."""
    return -torch.log_softmax(logits, dim=-1).mean(-1)


@dataclass(frozen=True)
class Refusal:
    """Cross-entropy to one token of a refusal, wherever a memorised token stood."""

    token: int

    def __call__(self, logits: Tensor, tokens: Tensor, demoted: Tensor) -> Tensor:
        """See Loss."""
        return -torch.log_softmax(logits, dim=-1)[:, self.token]


REFUSAL = " unknown"


def unlearning_loss(name: str, encode: Callable[[str], list[int]]) -> Loss:
    """The loss of that name: softened, ascent, uniform or refusal; ``encode`` gives the tokens of a bare text.

    Raises:
        ValueError: there is none.
    """
    if name == "refusal":
        return Refusal(encode(REFUSAL)[0])
    losses: dict[str, Loss] = {"softened": softened, "ascent": ascent, "uniform": uniform}
    if name not in losses:
        raise ValueError(f"there is no unlearning loss {name!r}: softened, ascent, uniform or refusal")
    return losses[name]


def cross_entropy(logits: Tensor, tokens: Tensor, demoted: Tensor) -> Tensor:
    """Cross-entropy to the tokens themselves: what curvature is made of, not an unlearning loss."""
    return torch.nn.functional.cross_entropy(logits, tokens, reduction="none")
