"""Matrices kept as a product of two thin factors."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LowRank:
    """The matrix ``left @ right`` (d_out × d_in) of rank at most k; multiplied out only where k is above both sides."""

    left: Tensor  # (d_out × k)
    right: Tensor  # (k × d_in)

    @property
    def rank(self) -> int:
        return self.left.shape[1]

    def scaled(self, factor: float) -> "LowRank":
        return LowRank(self.left * factor, self.right)

    def plus(self, other: "LowRank") -> "LowRank":
        """The exact sum, by concatenation: ranks add, up to the smaller side of the matrix."""
        return LowRank(torch.cat([self.left, other.left], dim=1), torch.cat([self.right, other.right])).collapsed()

    def collapsed(self) -> "LowRank":
        """The same matrix with the inner dimension no larger than the smaller outer one."""
        d_out, d_in = self.left.shape[0], self.right.shape[1]
        if self.rank <= min(d_out, d_in):
            return self
        whole = self.left @ self.right
        one = torch.eye(min(d_out, d_in), dtype=whole.dtype, device=whole.device)
        return LowRank(whole, one) if d_in <= d_out else LowRank(one, whole)

    def inner(self, other: "LowRank") -> float:
        """The Frobenius inner product ⟨self, other⟩, in float64."""
        left = self.left.double().T @ other.left.double()
        right = self.right.double() @ other.right.double().T
        return float((left * right).sum())

    def truncated(self, rank: int) -> "LowRank":
        """The best approximation of a given rank in the Frobenius norm, as balanced factors (QR and SVD, float64)."""
        q_left, r_left = torch.linalg.qr(self.left.double())
        q_right, r_right = torch.linalg.qr(self.right.double().T)
        u, sigma, vh = torch.linalg.svd(r_left @ r_right.T, full_matrices=False)
        root = sigma[:rank].sqrt()
        left, right = (q_left @ u[:, :rank]) * root, root[:, None] * (q_right @ vh[:rank].T).T
        return LowRank(left.to(self.left.dtype), right.to(self.right.dtype))
