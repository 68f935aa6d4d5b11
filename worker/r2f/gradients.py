"""LoRA gradients of frozen weights from forward and backward hooks, without touching a weight.

Letters: W (d_out × d_in) a site's weight; X (n × d_in) its inputs and D (n × d_out) the loss gradient at its outputs
over n positions; G = DᵀX = ∂L/∂W, never formed; A (r × d_in) and B (d_out × r) LoRA factors.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from worker.r2f.sites import Site

# Called once per site during the backward pass with X (n × d_in) and D (n × d_out).
Visitor = Callable[[Site, Tensor, Tensor], None]
Factors = tuple[Tensor, Tensor]  # A (r × d_in) with orthonormal rows, B (d_out × r) with orthonormal columns


@dataclass(frozen=True)
class Sketch:
    """The two LoRA gradients of a site over the scale s, and the factors they were taken at.

    With W' = W − sBA (function unchanged), ∂L/∂B / s = G Aᵀ and ∂L/∂A / s = Bᵀ G.
    """

    a: Tensor  # (r × d_in), orthonormal rows
    b: Tensor  # (d_out × r), orthonormal columns
    y: Tensor  # (d_out × r) = G aᵀ
    z: Tensor  # (r × d_in) = bᵀ G


def orthonormal(matrix: Tensor) -> Tensor:
    """Orthonormal basis of the columns of a tall matrix (d × r); Householder QR, so rank deficiency does no harm."""
    basis: Tensor = torch.linalg.qr(matrix.float())[0]
    return basis.to(matrix.dtype)


def random_factors(site: Site, rank: int, seed: int) -> Factors:
    """Seeded LoRA factors of a site, drawn on the CPU so that they are the same on every device."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{site.name}".encode()))
    a = orthonormal(torch.randn(site.d_in, rank, generator=generator)).T.contiguous()
    b = orthonormal(torch.randn(site.d_out, rank, generator=generator))
    return a, b


def drawn_factors(sites: Sequence[Site], rank: int, seed: int, device: torch.device) -> dict[str, Factors]:
    """Seeded LoRA factors of every site by name, on a device."""
    drawn = {site.name: random_factors(site, rank, seed) for site in sites}
    return {name: (a.to(device), b.to(device)) for name, (a, b) in drawn.items()}


@contextmanager
def visiting(model: nn.Module, sites: Sequence[Site], visitor: Visitor) -> Iterator[None]:
    """Call ``visitor`` with every site's X and D, in 32 bits at least, while a backward pass runs inside the block."""
    handles = []

    def hook(site: Site) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def forward(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0].detach().reshape(-1, site.d_in)
            output.register_hook(lambda d: visitor(site, _wide(x), _wide(d).reshape(-1, site.d_out)))  # type: ignore[no-untyped-call]

        return forward

    try:
        handles += [model.get_submodule(site.name).register_forward_hook(hook(site)) for site in sites]
        yield
    finally:
        for handle in handles:
            handle.remove()


def _wide(values: Tensor) -> Tensor:
    """Half-precision values in 32 bits; made where they are used, so that only one site's are there at a time."""
    return values.float() if values.element_size() < 4 else values


def sketch(x: Tensor, d: Tensor, factors: Factors) -> Sketch:
    """Two-sided LoRA gradients at given factors."""
    a, b = factors
    # each product has its thin factor on the left and in rows, which is about three times as fast as any other order
    return Sketch(a, b, y=((a @ x.T) @ d).T, z=(b.T @ d.T) @ x)


def aligned_factors(first: Sketch) -> Factors:
    """Factors turned towards the gradient that a sketch has seen: A₂ = orth(Z), B₂ = orth(Y).

    One step of a randomised range finder (Halko, Martinsson and Tropp, arXiv 0909.4061, alg. 4.4) on each side.
    """
    return orthonormal(first.z.T).T.contiguous(), orthonormal(first.y)


def aligned_sketch(x: Tensor, d: Tensor, factors: Factors) -> Sketch:
    """LoRA gradients at aligned factors, where X and D are still at hand."""
    return sketch(x, d, aligned_factors(sketch(x, d, factors)))


class Sketcher:
    """Collects one sketch per site during a backward pass; a site that is run more than once adds up.

    Where it turns, a site's factors are first turned towards the gradient that comes by, while X and D are at hand. A
    shared opening, whose part of the gradient comes last, is then seen at the factors that the rest has turned.
    """

    def __init__(self, factors: Mapping[str, Factors], *, turn: bool = False) -> None:
        self._factors, self._turn = factors, turn
        self.sketches: dict[str, Sketch] = {}

    def __call__(self, site: Site, x: Tensor, d: Tensor) -> None:
        known = self.sketches.get(site.name)
        if known:
            fresh = sketch(x, d, (known.a, known.b))
            self.sketches[site.name] = replace(fresh, y=known.y + fresh.y, z=known.z + fresh.z)
        else:
            take = aligned_sketch if self._turn else sketch
            self.sketches[site.name] = take(x, d, self._factors[site.name])
