"""The arithmetic of a judgement against retraining: pure functions of numbers."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SHARE = 0.2  # of a text's tokens, the least likely ones, that membership looks at


def kolmogorov_smirnov(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Two samples' largest distance between their distributions, and the chance of one as large if they were one.

    The chance is exact where no value is in both samples (Hodges, Ark. Mat. 3, 1958), and otherwise an upper bound.
    """
    points = sorted({*a, *b})
    steps = max(abs(_until(a, x) * len(b) - _until(b, x) * len(a)) for x in points)
    return steps / (len(a) * len(b)), _chance_of(steps, len(a), len(b))


def _chance_of(steps: int, m: int, n: int) -> float:
    """The chance that m and n values of one distribution, sorted, lead so many steps of 1 / mn from the diagonal."""
    short = [0] * (n + 1)  # of i and j values, the orders that never lead so far
    for i in range(m + 1):
        for j in range(n + 1):
            ways = short[j] * (i > 0) + short[j - 1] * (j > 0) if i + j else 1
            short[j] = ways if abs(i * n - j * m) < steps else 0
    orders = math.comb(m + n, n)
    return (orders - short[n]) / orders


def _until(sample: Sequence[float], x: float) -> int:
    return sum(value <= x for value in sample)


def area_under_curve(members: Sequence[float], others: Sequence[float]) -> float:
    """How often a member scores above somebody else; ties count half, 0.5 tells nothing."""
    wins = sum((m > o) + 0.5 * (m == o) for m in members for o in others)
    return wins / (len(members) * len(others))


def min_k(taken: Tensor) -> float:
    """Min-k% (Shi et al., arXiv 2310.16789): mean log-probability of the least likely tokens; ``taken`` is (T,)."""
    return float(_lowest(taken).mean())


def min_k_plus(taken: Tensor, logs: Tensor) -> float:
    """Min-k%++ (Zhang et al., arXiv 2404.02936): the same of every token standardised by what could have stood there.

    Args:
        taken: log-probability of every token (T,).
        logs: log-probabilities of the whole vocabulary where it stood (T × V).
    """
    chance = logs.exp()
    mean = (chance * logs).sum(-1)
    variance = (chance * logs.square()).sum(-1) - mean.square()
    # a position where only one token is possible has no spread: it then says nothing, not infinity
    return float(_lowest((taken - mean) / variance.clamp_min(1e-6).sqrt()).mean())


def _lowest(values: Tensor) -> Tensor:
    count = max(1, int(SHARE * len(values)))
    return torch.topk(values, count, largest=False).values


def truth_ratio(right: float, wrong: Sequence[float]) -> float:
    """Maini et al. (arXiv 2401.06121): mean probability of wrong answers over that of the right one, per token.

    Args:
        right: mean log-probability of a token of the right answer.
        wrong: the same of wrong answers.
    """
    return sum(map(math.exp, wrong)) / len(wrong) / math.exp(right)
