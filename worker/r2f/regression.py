"""The gradient decoder as the paper has it: a network from a site's LoRA gradients straight to its full gradient.

An MLP maps the two LoRA gradients at fixed factors to every entry of G and is trained on a proxy's exact gradients by
their squared error (paper, eq. 6 and 7), here relative to ‖G‖². Widths are in its weights' shape, so it serves only
targets as wide as its proxy, with one network, and one pair of factors, for each kind of module. The spectral decoder
is measured against it; no deletion uses it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from worker.r2f.banks import BankFact, Relation
from worker.r2f.decoder_training import examples_of
from worker.r2f.forgetting import backpropagate
from worker.r2f.gradients import Factors, Sketch, aligned_sketch, random_factors, sketch, visiting
from worker.r2f.language import LanguageModel
from worker.r2f.losses import cross_entropy
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site

HIDDEN = 64
KEPT = 32  # rank that the proxy's exact gradients are stored at
BATCH = 16


@dataclass(frozen=True)
class Lesson:
    """A site's gradient of one fact."""

    sketch: Tensor  # (r · (d_out + d_in),)
    exact: LowRank


class Regression(nn.Module):
    """G of one kind of module from its LoRA gradients; doubling them doubles the output."""

    def __init__(self, d_out: int, d_in: int, rank: int) -> None:
        super().__init__()
        self.shape = (d_out, d_in)
        last = nn.Linear(HIDDEN, d_out * d_in, bias=False)
        nn.init.zeros_(last.weight)
        self.net = nn.Sequential(nn.Linear(rank * (d_out + d_in), HIDDEN), nn.GELU(), last)

    def forward(self, sketches: Tensor) -> Tensor:
        """Gradients (n × d_out × d_in) of sketches (n × r · (d_out + d_in))."""
        size = sketches.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        # entries of the input are about 1 as a network likes them
        made: Tensor = self.net(sketches / size * sketches.shape[-1] ** 0.5) * size
        return made.reshape(-1, *self.shape)


@dataclass(frozen=True)
class Regressions:
    """The networks of all kinds of modules, with the factors that they were trained at."""

    by_module: Mapping[str, Regression]
    rank: int
    seed: int

    def factors(self, site: Site, device: torch.device) -> Factors:
        """A and B of a site: those of its kind."""
        a, b = random_factors(replace(site, name=site.module), self.rank, self.seed)
        return a.to(device), b.to(device)

    def guess(self, site: Site, x: Tensor, d: Tensor) -> Mapping[str, Tensor]:
        """See worker.r2f.fidelity.Guess."""
        return {"regression": self._full(site, sketch(x, d, self.factors(site, x.device)))}

    def __call__(self, sites: Sequence[Site], sketches: Mapping[str, Sketch]) -> dict[str, LowRank]:
        """Decode every site's gradient, cut to the spectral decoder's rank 2r (see worker.r2f.linearise)."""
        decoded = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for site in sites:
                u, sigma, v = torch.svd_lowrank(self._full(site, sketches[site.name]), 2 * self.rank)
                decoded[site.name] = LowRank(u * sigma, v.T)
        return decoded

    def _full(self, site: Site, taken: Sketch) -> Tensor:
        with torch.no_grad():
            made: Tensor = self.by_module[site.module](_flat(taken)[None])[0]
        return made


def train_regressions(
    proxy: LanguageModel,
    facts: Iterable[tuple[Relation, BankFact]],
    *,
    rank: int,
    views: int,
    rate: float,
    steps: int,
    seed: int,
) -> Regressions:
    """Train on a proxy's gradients of facts."""
    untrained = Regressions({}, rank, seed)
    lessons: dict[str, list[Lesson]] = {}
    for relation, fact in facts:
        for site, lesson in _lessons(proxy, relation, fact, views, untrained):
            lessons.setdefault(site.module, []).append(lesson)
    by_module = {module: fit(own, rank, rate=rate, steps=steps, seed=seed) for module, own in lessons.items()}
    return replace(untrained, by_module=by_module)


def _lessons(
    proxy: LanguageModel, relation: Relation, fact: BankFact, views: int, at: Regressions
) -> Iterator[tuple[Site, Lesson]]:
    found: list[tuple[Site, Lesson]] = []

    def visit(site: Site, x: Tensor, d: Tensor) -> None:
        a, b = random_factors(site, KEPT, at.seed)
        kept = aligned_sketch(x, d, (a.to(x), b.to(x)))
        found.append((site, Lesson(_flat(sketch(x, d, at.factors(site, x.device))), LowRank(kept.b, kept.z))))

    examples = examples_of(proxy, relation, fact, views)
    with visiting(proxy.model, proxy.sites, visit):
        backpropagate(proxy, examples, cross_entropy)
    yield from found


def fit(lessons: Sequence[Lesson], rank: int, *, rate: float, steps: int, seed: int) -> Regression:
    """Fit one kind of module by Adam on the mean relative error."""
    first = lessons[0].exact
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Regression(first.left.shape[0], first.right.shape[1], rank).to(first.left.device)
    sketches = torch.stack([lesson.sketch for lesson in lessons])
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    order = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randperm(len(lessons), generator=order)[:BATCH]
        exact = torch.stack([lessons[n].exact.left @ lessons[n].exact.right for n in chosen.tolist()])
        energy = exact.square().sum((1, 2)).clamp_min(1e-30)
        optimiser.zero_grad()
        error = ((network(sketches[chosen]) - exact).square().sum((1, 2)) / energy).mean()
        error.backward()
        optimiser.step()
        schedule.step()
    return network.requires_grad_(False)


def _flat(taken: Sketch) -> Tensor:
    return torch.cat([taken.y.flatten(), taken.z.flatten()])
