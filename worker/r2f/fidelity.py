"""How close reconstructions come to the exact gradient: an audit of the decoder, for one request or for its card."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from worker.r2f.decoder import Decoder, assemble, spectrum
from worker.r2f.decoder_training import ridge
from worker.r2f.gradients import Factors, Sketch, aligned_sketch, sketch, visiting
from worker.r2f.language import LanguageModel
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site


@dataclass(frozen=True)
class Scalars:
    """⟨Ĝ, G⟩, ‖Ĝ‖² and ‖G‖² of one site."""

    inner: float
    estimate: float
    exact: float

    @property
    def cosine(self) -> float:
        norms = (self.estimate * self.exact) ** 0.5
        return self.inner / norms if norms > 0 else 0.0

    @property
    def error(self) -> float:
        return self.estimate - 2 * self.inner + self.exact


# Reconstructions of a site's gradient G = DᵀX from X (n × d_in) and D (n × d_out), by name.
Guess = Callable[[Site, Tensor, Tensor], Mapping[str, LowRank | Tensor]]


@dataclass
class Audit:
    """A gradient visitor that holds one exact G at a time and keeps only scalars of it."""

    guesses: Sequence[Guess]
    sites: dict[str, dict[str, Scalars]] = field(default_factory=dict)  # method -> site -> scalars

    def __call__(self, site: Site, x: Tensor, d: Tensor) -> None:
        exact = d.T @ x
        energy = float(exact.double().square().sum())
        for guess in self.guesses:
            for name, made in guess(site, x, d).items():
                inner, estimate = _against(made, exact)
                self.sites.setdefault(name, {})[site.name] = Scalars(inner, estimate, energy)


def _against(made: LowRank | Tensor, exact: Tensor) -> tuple[float, float]:
    """⟨Ĝ, G⟩ and ‖Ĝ‖²."""
    if isinstance(made, Tensor):
        return float((made.double() * exact).sum()), float(made.double().square().sum())
    return float(((made.left.T @ exact).double() * made.right.double()).sum()), made.inner(made)


@dataclass(frozen=True)
class Reconstructions:
    """What LoRA-only unlearning applies, and the decoder beside the filters that need no training."""

    decoder: Decoder
    share: float  # the ridge's λ
    factors: Mapping[str, Factors]
    layers: int

    def __call__(self, site: Site, x: Tensor, d: Tensor) -> Mapping[str, LowRank]:
        """See Guess."""
        random, aligned = sketch(x, d, self.factors[site.name]), aligned_sketch(x, d, self.factors[site.name])
        s = spectrum([site], {site.name: aligned}, self.layers)
        filters = {
            "decoder": self.decoder.weights(s),
            "ridge": ridge(s.sigma, self.share),
            "pseudoinverse": torch.ones_like(s.sigma),
            "two_sided": torch.zeros_like(s.sigma),
        }
        made = {name: assemble([site], {site.name: aligned}, s, w)[site.name] for name, w in filters.items()}
        r = spectrum([site], {site.name: random}, self.layers)
        floor = assemble([site], {site.name: random}, r, torch.zeros_like(r.sigma))[site.name]
        return made | {"lora_one_sided": LowRank(random.y, random.a), "lora_two_sided": floor}


@dataclass(frozen=True)
class Hindsight:
    """What could be reached at best, by what no deletion knows: the exact gradient, or its activations."""

    factors: Mapping[str, Factors]
    layers: int

    def __call__(self, site: Site, x: Tensor, d: Tensor) -> Mapping[str, LowRank]:
        """See Guess."""
        aligned = aligned_sketch(x, d, self.factors[site.name])
        rank = len(aligned.a)
        best = LowRank(d.T, x).truncated(2 * rank)
        inputs = x.double()
        return {
            "best_diagonal": self._best_diagonal(site, x, d, aligned),
            "best_rank_r": LowRank(best.left[:, :rank], best.right[:rank]),
            "best_rank_2r": best,
            # X is known to whoever ran the forward pass: the least-squares D with DᵀXAᵀ = Y
            "least_squares": LowRank(aligned.y, (torch.linalg.pinv(inputs @ aligned.a.double().T) @ inputs).to(x)),
        }

    def _best_diagonal(self, site: Site, x: Tensor, d: Tensor, aligned: Sketch) -> LowRank:
        """The filter with the least error: f = M⁺h of decoder_training, free of (0, 1).

        h is taken against what is left of G beside the exact blocks: these are orthogonal to it up to rounding only,
        which is not small beside a small remainder.
        """
        s = spectrum([site], {site.name: aligned}, self.layers)
        base = assemble([site], {site.name: aligned}, s, torch.zeros_like(s.sigma))[site.name]
        p, q = s.p[0], s.u[0].T @ s.rest[0]
        scale = (p.norm(dim=0) * q.norm(dim=1)).clamp_min(torch.finfo(p.dtype).tiny)
        m = (p.T @ p) * (q @ q.T) / torch.outer(scale, scale)
        h = ((d.double() @ p) * (x.double() @ q.T)).sum(0)
        h -= ((base.left.double().T @ p) * (base.right.double() @ q.T)).sum(0)
        weights = (torch.linalg.pinv(m, rtol=1e-9, hermitian=True) @ (h / scale) / scale)[None] * s.sigma
        return assemble([site], {site.name: aligned}, s, weights)[site.name]


@dataclass(frozen=True)
class Figures:
    """Fidelity of one method over all sites."""

    site_mean_cosine: float
    energy_weighted_cosine: float
    vector_cosine: float
    relative_error: float


def summarise(sites: Sequence[Scalars]) -> Figures:
    """Figures over sites (of one fact, or of many)."""
    energy = sum(s.exact for s in sites)
    whole = Scalars(sum(s.inner for s in sites), sum(s.estimate for s in sites), energy)
    return Figures(
        sum(s.cosine for s in sites) / len(sites),
        sum(s.cosine * s.exact for s in sites) / energy if energy else 0.0,
        whole.cosine,
        sum(s.error for s in sites) / energy if energy else 0.0,
    )


def audit(lm: LanguageModel, guesses: Sequence[Guess], backward: Callable[[], object]) -> Audit:
    """Compare reconstructions with the exact gradient at the model as it is.

    Args:
        backward: one backward pass, which visits every site once.
    """
    visitor = Audit(guesses)
    with visiting(lm.model, lm.sites, visitor):
        backward()
    return visitor
