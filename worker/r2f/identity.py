"""Model identity alignment (paper, appendix C): how alike two models' output distributions are on generic prompts.

The paper defines a mean cosine similarity, which this is; its table seems to print a distance, 1 − similarity.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Identity:
    """A mean over positions."""

    similarity: float  # cosine of the two probability vectors, 1 for the same model


def identity(before: Tensor, after: Tensor) -> Identity:
    """From log-probabilities (S × V) of the base and of the adapted model at the same positions."""
    p, q = before.double().exp(), after.double().exp()
    cosine = (p * q).sum(-1) / (p.norm(dim=-1) * q.norm(dim=-1))
    return Identity(float(cosine.mean()))
