"""How close reconstructions come to the exact gradient: an audit of the decoder, for one request or for its card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from worker.r2f.decoder import Decoder, assemble, depth_of, spectrum
from worker.r2f.decoder_training import ridge
from worker.r2f.examples import Example, collate, demoted_mask
from worker.r2f.forward import span_logits
from worker.r2f.gradients import Factors, Sketch, aligned_sketch, random_factors, sketch, visiting
from worker.r2f.language import LanguageModel
from worker.r2f.losses import Loss
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


@dataclass
class Audit:
    """A gradient visitor that holds one exact G at a time and keeps only scalars of it."""

    decoder: Decoder
    share: float  # the ridge's λ
    factors: Mapping[str, Factors]
    layers: int
    sites: dict[str, dict[str, Scalars]] = field(default_factory=dict)  # method -> site -> scalars

    def __call__(self, site: Site, x: Tensor, d: Tensor) -> None:
        exact = d.T @ x
        energy = float(exact.double().square().sum())
        random, aligned = sketch(x, d, self.factors[site.name]), aligned_sketch(x, d, self.factors[site.name])
        for name, guess in self._guesses(site, random, aligned).items():
            inner = float(((guess.left.T @ exact).double() * guess.right.double()).sum())
            self.sites.setdefault(name, {})[site.name] = Scalars(inner, guess.inner(guess), energy)

    def _guesses(self, site: Site, random: Sketch, aligned: Sketch) -> dict[str, LowRank]:
        """What LoRA-only unlearning applies, and the decoder beside the filters that need no training."""
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


def audit(
    lm: LanguageModel, decoder: Decoder, share: float, examples: Sequence[Example], loss: Loss, rank: int, seed: int
) -> Audit:
    """Compare reconstructions with the exact gradient of a loss at the model as it is."""
    drawn = {site.name: random_factors(site, rank, seed) for site in lm.sites}
    factors = {name: (a.to(lm.device), b.to(lm.device)) for name, (a, b) in drawn.items()}
    visitor = Audit(decoder, share, factors, depth_of(lm.sites))
    batch = collate(examples, lm.pad, lm.device)
    with torch.enable_grad(), visiting(lm.model, lm.sites, visitor):
        logits = span_logits(lm.model, batch)
        demoted = demoted_mask(examples, logits.shape[-1], lm.device)
        (loss(logits, batch.tokens, demoted) * batch.weights).sum().backward()  # type: ignore[no-untyped-call]
    return visitor
