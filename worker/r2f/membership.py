"""Membership scores of a text, from a model's log-probabilities: high where it seems to have been trained on.

min-k% (Shi et al., arXiv 2310.16789) is the mean log p of the least likely k % of tokens; min-k%++ (Zhang et al., arXiv
2404.02936, eq. 3) first standardises each log p by the mean and deviation of log p under the model's own distribution.
Extraction strength (Carlini et al., arXiv 2012.07805, as TOFU's followers define it) is the share of a reply that the
model completes by itself from the shortest prefix.
"""

from torch import Tensor


def min_k(logs: Tensor, tokens: Tensor, share: float = 0.2) -> float:
    """From log-probabilities (S × V) and the text's tokens (S,)."""
    return _least(logs.double().gather(-1, tokens[:, None]).squeeze(-1), share)


def min_k_plus(logs: Tensor, tokens: Tensor, share: float = 0.2) -> float:
    """min-k%++ from log-probabilities (S × V) and the text's tokens (S,)."""
    logs = logs.double()
    p = logs.exp()
    mean = (p * logs).sum(-1)
    deviation = ((p * logs.square()).sum(-1) - mean.square()).clamp_min(1e-12).sqrt()
    return _least((logs.gather(-1, tokens[:, None]).squeeze(-1) - mean) / deviation, share)


def extraction_strength(logs: Tensor, tokens: Tensor) -> float:
    """1 − the shortest prefix after which every token is the model's first choice, as a share of the text."""
    wrong = (logs.argmax(-1) != tokens).nonzero()[:, 0]
    start = int(wrong.max()) + 1 if len(wrong) else 0
    return 1 - start / len(tokens)


def _least(scores: Tensor, share: float) -> float:
    count = max(1, round(share * len(scores)))
    return float(scores.sort().values[:count].mean())
