"""Curvature: what the model's other knowledge needs, as second moments of every site's inputs and output gradients.

Direction = (C_out + λ_o I)⁻¹ Ĝ (C_in + λ_i I)⁻¹ with C_in = E[x xᵀ] and C_out = E[δ δᵀ] (K-FAC, Martens and Grosse,
arXiv 1503.05671). Dense statistics would cost more memory than the model, so each is kept as low rank plus diagonal,
from one pass over the tokens (single-pass Nyström, Tropp et al., arXiv 1706.05736). A deletion adds its own neighbours
by extending the low-rank part (Woodbury).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site

OVERSAMPLED = 32  # directions beyond the rank that a sketch sees, so that the rank's own are found well


@dataclass(frozen=True)
class Moment:
    """A second moment C ≈ U Uᵀ + diag(rest) of dimension d and rank k."""

    u: Tensor  # (d × k)
    rest: Tensor  # (d,), non-negative

    @property
    def mean_diagonal(self) -> float:
        return float((self.u.square().sum(1) + self.rest).mean())

    @property
    def nbytes(self) -> int:
        return self.u.nbytes + self.rest.nbytes

    def plus(self, other: "Moment", weight: float) -> "Moment":
        """self + weight · other: exact, ranks add."""
        return Moment(torch.cat([self.u, weight**0.5 * other.u], dim=1), self.rest + weight * other.rest)

    def solve(self, x: Tensor, damping: float) -> Tensor:
        """(C + λ I)⁻¹ x for x (d × m), λ = damping × mean diagonal, by Woodbury in float64."""
        d = (self.rest.double() + damping * self.mean_diagonal)[:, None]
        u, x64 = self.u.double(), x.double()
        scaled = u / d
        inner = torch.eye(u.shape[1], dtype=torch.float64, device=u.device) + u.T @ scaled
        solved: Tensor = x64 / d - scaled @ torch.linalg.solve(inner, scaled.T @ x64)
        return solved.to(x.dtype)

    def double(self) -> "Moment":
        return Moment(self.u.double(), self.rest.double())

    def times(self, x: Tensor, damping: float) -> Tensor:
        """(C + λ I) x for x (d × m)."""
        lam = damping * self.mean_diagonal
        return self.u @ (self.u.T @ x) + (self.rest[:, None] + lam) * x


@lru_cache(maxsize=16)  # a model has few widths and hundreds of sites
def _test_matrix(d: int, width: int, seed: int, device: torch.device | str) -> Tensor:
    """An orthonormal basis (d × width) of seeded Gaussian directions."""
    basis: Tensor = torch.linalg.qr(torch.randn(d, width, generator=torch.Generator().manual_seed(seed)))[0]
    return basis.to(device)


class MomentSketch:
    """Accumulates a Moment over rows in one pass: C Ω and diag(C) for a seeded orthonormal Ω (d × l)."""

    def __init__(self, d: int, rank: int, seed: int, device: torch.device | str = "cpu") -> None:
        self._rank = rank
        self._omega = _test_matrix(d, min(d, rank + OVERSAMPLED), seed, device)
        self._range = torch.zeros_like(self._omega)
        self._diagonal = torch.zeros(d, device=device)
        self._rows = 0.0

    def add(self, rows: Tensor, count: float) -> None:
        """Add rowsᵀ rows for rows (n × d) that stand for ``count`` tokens."""
        rows = rows.float()
        self._range += rows.T @ (rows @ self._omega)
        self._diagonal += rows.square().sum(0)
        self._rows += count

    def moment(self) -> Moment:
        """The mean over tokens, truncated to the rank (fixed-rank Nyström with a stabilising shift, ibid. alg. 3)."""
        scale = max(self._rows, 1e-30)  # no row at all: the moment of nothing is zero
        y, omega = self._range.double() / scale, self._omega.double()
        shift = torch.finfo(torch.float32).eps * float(y.norm()) + 1e-30
        core = omega.T @ (y + shift * omega)
        chol = torch.linalg.cholesky((core + core.T) / 2)
        wide = torch.linalg.solve_triangular(chol, (y + shift * omega).T, upper=False).T  # (d × l), C ≈ wide wideᵀ
        _, vectors = torch.linalg.eigh(wide.T @ wide)  # ascending
        factor = wide @ vectors[:, -self._rank :]
        rest = (self._diagonal.double() / scale - factor.square().sum(1)).clamp_min(0)
        return Moment(factor.float(), rest.float())


@dataclass(frozen=True)
class Curvature:
    """One moment per input group and one per site output."""

    inputs: Mapping[str, Moment]  # by Site.group
    outputs: Mapping[str, Moment]  # by Site.name

    @property
    def nbytes(self) -> int:
        return sum(m.nbytes for part in (self.inputs, self.outputs) for m in part.values())

    def plus(self, other: "Curvature", weight: float) -> "Curvature":
        """Add another curvature, such as that of a deletion's neighbours, with a weight."""
        return Curvature(
            {name: moment.plus(other.inputs[name], weight) for name, moment in self.inputs.items()},
            {name: moment.plus(other.outputs[name], weight) for name, moment in self.outputs.items()},
        )

    def precondition(
        self, sites: Sequence[Site], gradient: Mapping[str, LowRank], damping: float
    ) -> dict[str, LowRank]:
        """(C_out + λ_o I)⁻¹ Ĝ (C_in + λ_i I)⁻¹ per site; stays low-rank."""
        direction = {}
        for site in sites:
            g, c_in, c_out = gradient[site.name], self.inputs[site.group], self.outputs[site.name]
            direction[site.name] = LowRank(c_out.solve(g.left, damping), c_in.solve(g.right.T, damping).T.contiguous())
        return direction


class CurvatureSketch:
    """A gradient visitor that accumulates a Curvature over backward passes of a loss summed over tokens.

    Inputs are weighted by their output gradient's norm, one weight per token and site, so that positions which cannot
    change a reply (padding among them, whose gradient is zero) do not count.
    """

    def __init__(self, sites: Sequence[Site], rank: int, seed: int, device: torch.device | str = "cpu") -> None:
        self._inputs = {site.group: MomentSketch(site.d_in, rank, seed, device) for site in sites}
        self._outputs = {site.name: MomentSketch(site.d_out, rank, seed, device) for site in sites}

    def __call__(self, site: Site, x: Tensor, d: Tensor) -> None:
        norms = d.float().norm(dim=1)  # (n,)
        self._inputs[site.group].add(x * norms[:, None], float(norms.square().sum()))
        self._outputs[site.name].add(d, float((norms > 0).sum()))

    def curvature(self) -> Curvature:
        return Curvature(
            {name: sketch.moment() for name, sketch in self._inputs.items()},
            {name: sketch.moment() for name, sketch in self._outputs.items()},
        )
