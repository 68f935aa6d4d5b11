"""LoRA fine-tuning of a frozen model: what trained baselines, and attacks on a forget adapter, are made of."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.r2f.adaptation import Adaptation, Update
from worker.r2f.language import LanguageModel
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site


class DivergedError(ArithmeticError):
    """The training loss or a weight is NaN or infinite: take a lower rate or fewer steps."""


@dataclass(frozen=True)
class Training:
    """How a LoRA is trained; its scale alpha / r is 1."""

    rate: float = 1e-3  # of AdamW, constant, no weight decay
    steps: int = 20
    clip: float = 1.0  # largest gradient norm


def train(
    lm: LanguageModel,
    training: Training,
    rank: int,
    seed: int,
    objective: Callable[[int], Tensor],
    *,
    sites: Collection[Site] | None = None,
    start: Update | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Update:
    """Minimise an objective over LoRA factors, initialised as PEFT does (Hu et al., arXiv 2106.09685): B = 0.

    Args:
        objective: the loss at a step, from the model as it then is.
        sites: the only ones to train; all if absent.
        start: an update that stays in force below the new factors.

    Returns:
        The trained factors alone, zero where nothing was trained.

    Raises:
        DivergedError: the loss is not finite, or what it led to.
    """
    chosen = lm.sites if sites is None else tuple(sites)
    fresh = _factors(lm, chosen, rank, seed)
    optimiser = torch.optim.AdamW([f for p in fresh.values() for f in (p.left, p.right)], training.rate, weight_decay=0)
    with Adaptation(lm.model, lm.sites) as adaptation, torch.enable_grad():
        for step in range(training.steps):
            adaptation.use(on_top(start or {}, fresh))
            loss = objective(step)
            if not loss.isfinite():
                raise DivergedError(DivergedError.__doc__)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([f for p in fresh.values() for f in (p.left, p.right)], training.clip)
            optimiser.step()
            progress((step + 1) / training.steps)
    done = {name: LowRank(part.left.detach(), part.right.detach()) for name, part in fresh.items()}
    if not all(factor.isfinite().all() for part in done.values() for factor in (part.left, part.right)):
        raise DivergedError(DivergedError.__doc__)
    return {site.name: done.get(site.name) or _nothing(lm, site) for site in lm.sites}


def on_top(below: Update, above: Update) -> Update:
    """The sum of two updates, per site, exactly."""
    both = {name: part.plus(above[name]) if name in above else part for name, part in below.items()}
    return {**above, **both}


def _factors(lm: LanguageModel, sites: Collection[Site], rank: int, seed: int) -> dict[str, LowRank]:
    """B = 0 and A uniform within ±1/√d_in, drawn on the CPU so that it is the same on every device; 32 bits wide at
    least, since steps of an optimiser are lost on half as many."""
    generator, dtype = torch.Generator().manual_seed(seed), torch.promote_types(lm.model.dtype, torch.float32)
    made = {}
    for site in sites:
        a = (2 * torch.rand(rank, site.d_in, generator=generator, dtype=torch.float64) - 1) * site.d_in**-0.5
        b = torch.zeros(site.d_out, rank, dtype=dtype, device=lm.device)
        made[site.name] = LowRank(b.requires_grad_(True), a.to(lm.device, dtype).requires_grad_(True))
    return made


def _nothing(lm: LanguageModel, site: Site) -> LowRank:
    left = torch.zeros(site.d_out, 1, device=lm.device)
    return LowRank(left, torch.zeros(1, site.d_in, device=lm.device))
