"""Training the gradient decoder on a proxy (paper, eq. 7), and measuring it on a target (the fidelity table).

The squared error, relative to ‖G‖² per site, is a quadratic form in f = w_φ / σ. With E = G − (Y A + B (Z − C A)):

    ‖Ĝ − G‖² = fᵀ M f − 2 h·f + ‖E‖²,    M = (PᵀP) ∘ (Q Qᵀ),    h_i = P_iᵀ G Q_iᵀ

so a gradient is met once, reduced to M, h and two norms, and training takes seconds.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from worker.r2f.banks import BankFact, Relation
from worker.r2f.decoder import FEATURES, SpectralFilter, depth_of, spectrum
from worker.r2f.examples import Example
from worker.r2f.forgetting import backpropagate
from worker.r2f.gradients import Sketch, aligned_sketch, random_factors, visiting
from worker.r2f.language import LanguageModel
from worker.r2f.losses import Loss, cross_entropy
from worker.r2f.sites import Site
from worker.r2f.text import Form, Prompt

TEMPLATE = "The answer is {a}"
CONSTANT = 1e-3  # standard deviation below which a feature of a direction never differed


class ProxyError(ValueError):
    """The proxy has fewer layers than were asked for."""


def cut(model: PreTrainedModel, layers: int) -> PreTrainedModel:
    """A proxy: the first layers of a model, with its embeddings and head; weights are shared, not copied.

    Raises:
        ProxyError: the model has fewer layers.
    """
    if model.config.num_hidden_layers < layers:
        raise ProxyError(ProxyError.__doc__)
    config = type(model.config).from_dict({**model.config.to_dict(), "num_hidden_layers": layers})
    with torch.device("meta"):
        proxy: PreTrainedModel = type(model)(config)
    state = {name: tensor for name, tensor in model.state_dict().items() if name in proxy.state_dict()}
    proxy.load_state_dict(state, assign=True)
    rotary = getattr(proxy.base_model, "rotary_emb", None)
    if rotary is not None:  # its buffers are not part of the state
        proxy.base_model.rotary_emb = model.base_model.rotary_emb
    proxy.requires_grad_(False)
    proxy.train(False)
    return proxy


@dataclass(frozen=True)
class Cases:
    """Gradients reduced to what the error needs; n cases (a site of a fact), rank r; float64."""

    features: Tensor  # (n × r × FEATURES)
    sigma: Tensor  # (n × r)
    m: Tensor  # (n × r × r)
    h: Tensor  # (n × r)
    floor: Tensor  # (n,) = ‖E‖², the error of w = 0
    energy: Tensor  # (n,) = ‖G‖²

    @classmethod
    def join(cls, parts: Sequence["Cases"]) -> "Cases":
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def error(self, weights: Tensor) -> Tensor:
        """‖Ĝ − G‖² / ‖G‖² of every case (n,) for direction weights (n × r)."""
        f = torch.where(self.sigma > 1e-12 * self.sigma[:, :1], weights / self.sigma.clamp_min(1e-30), 0.0)
        quadratic = torch.einsum("ni,nij,nj->n", f, self.m, f)
        return (quadratic - 2 * (self.h * f).sum(-1) + self.floor) / self.energy


def examples_of(lm: LanguageModel, relation: Relation, fact: BankFact, views: int) -> list[Example]:
    """A fact's training views with a template reply: a proxy need not know the fact."""
    found = []
    for pattern in relation.train[:views]:
        plain = pattern.form == "completion"
        prompt = Prompt(pattern.filled(fact.subject), Form.PLAIN if plain else Form.CHAT)
        answer = fact.answers[0]
        example = lm.example(prompt, lm.continued(prompt, answer if plain else TEMPLATE.format(a=answer)), [answer])
        found += [example] if example else []
    return found


def exact_and_sketched(
    lm: LanguageModel, examples: Sequence[Example], rank: int, seed: int, loss: Loss
) -> tuple[dict[str, Tensor], dict[str, Sketch]]:
    """The exact gradient G (d_out × d_in) and the aligned sketch of every site, from one backward pass."""
    gradients: dict[str, Tensor] = {}
    sketches: dict[str, Sketch] = {}

    def visit(site: Site, x: Tensor, d: Tensor) -> None:
        a, b = random_factors(site, rank, seed)
        gradients[site.name] = d.T @ x
        sketches[site.name] = aligned_sketch(x, d, (a.to(x), b.to(x)))

    with visiting(lm.model, lm.sites, visit):
        backpropagate(lm, examples, loss)
    return gradients, sketches


def reduce(sites: Sequence[Site], gradients: dict[str, Tensor], sketches: dict[str, Sketch]) -> Cases:
    """One fact's gradients as cases, which are small: on the CPU."""
    s = spectrum(sites, sketches, depth_of(sites))
    m, h, floor, energy = [], [], [], []
    for n, site in enumerate(sites):
        k, g, p = sketches[site.name], gradients[site.name].double(), s.p[n]
        q = s.u[n].T @ s.rest[n]
        m.append((p.T @ p) * (q @ q.T))
        h.append(((p.T @ g) * q).sum(-1))
        floor.append((g - k.y.double() @ k.a.double() - k.b.double() @ s.rest[n]).square().sum())
        energy.append(g.square().sum())
    cases = Cases(s.features, s.sigma, torch.stack(m), torch.stack(h), torch.stack(floor), torch.stack(energy))
    alive = cases.energy > 0  # a site that no gradient reaches has nothing to decode
    return Cases(*(getattr(cases, name)[alive].cpu() for name in Cases.__dataclass_fields__))


def collect(
    lm: LanguageModel, facts: Iterable[tuple[Relation, BankFact]], *, rank: int, views: int, seed: int
) -> Cases:
    """Cases of many facts; every fact draws LoRA factors of its own."""
    parts = []
    for n, (relation, fact) in enumerate(facts):
        examples = examples_of(lm, relation, fact, views)
        parts.append(reduce(lm.sites, *exact_and_sketched(lm, examples, rank, seed + n, cross_entropy)))
    return Cases.join(parts)


def fit(cases: Cases, *, steps: int, seed: int, progress: Callable[[int, float], None]) -> SpectralFilter:
    """Fit w_φ by Adam on the mean relative error; ``progress`` gets the step and the error."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = SpectralFilter().double()
    flat = cases.features.reshape(-1, FEATURES)
    weights.mean.copy_(flat.mean(0))
    spread = flat.std(0)
    # of what never differed here (a proxy without some kind of site) nothing is learnt: no target's value may count
    weights.scale.copy_(torch.where(spread < CONSTANT, math.inf, spread))
    # start at the best fixed ridge
    last = weights.net[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, math.log(best_ridge(cases)))
    optimiser = torch.optim.Adam(weights.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        optimiser.zero_grad()
        error = cases.error(weights(cases.features)).mean()
        error.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        progress(step + 1, float(error.detach()))
    return weights


def ridge(sigma: Tensor, share: float) -> Tensor:
    """The fixed filter w = σ² / (σ² + λ² σ₁²) that the decoder is measured against."""
    return sigma.square() / (sigma.square() + (share * sigma[..., :1]).square())


RIDGES = (0.01, 0.02, 0.03, 0.06, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


def best_ridge(cases: Cases) -> float:
    """The λ with the least mean relative error on the proxy's cases."""
    return min(RIDGES, key=lambda share: float(cases.error(ridge(cases.sigma, share)).mean()))
