"""Mending: what must stay is brought back towards where it was, along a way on which what must go stays gone.

The path only avoids harm to first order: the curvature says which directions are dear. Where it has done some all the
same, the model as adapted knows how to undo it: the gradient of the divergence on what must stay, preconditioned, is a
Newton step on it, and taking out of that step what would move p(answer) leaves the step of sequential quadratic
programming for "least divergence with p(answer) as it is" (Nocedal and Wright, Numerical Optimization, ch. 18).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from worker.r2f.adaptation import Adaptation, Update, plus
from worker.r2f.config import Config
from worker.r2f.curvature import Curvature
from worker.r2f.drift import DriftBatch
from worker.r2f.examples import Example, collate
from worker.r2f.forgetting import AT_ONCE, Forgetting
from worker.r2f.forward import span_logits
from worker.r2f.language import LanguageModel
from worker.r2f.linearise import Linearise
from worker.r2f.losses import ascent
from worker.r2f.lowrank import LowRank

MOST = 0.9  # of the divergence: the replies that hold it tell where to go
GAIN = 0.8  # of the divergence that a mend may leave at most, else it is the last
RISE = 1.1  # of a view's p(answer) that a mend may leave, where that is above the depth
FIRST = 0.8  # of the way to no divergence at all, if the slope lasted: the first step tried
NEAR = 0.4  # by which a better step is shorter at least, to be worth a try
SHORTEST = 8.0  # times shorter it may be


@dataclass(frozen=True)
class Kept:
    """Replies that must stay, with the base model's distributions over them."""

    parts: tuple[DriftBatch, ...]  # as many replies in each as one pass takes
    positions: int  # of all replies, whose mean the divergence is

    @classmethod
    def of(cls, lm: LanguageModel, examples: Sequence[Example]) -> "Kept":
        """Take the distributions of the model as it is now."""
        parts: list[list[Example]] = []
        for example in sorted(examples, key=lambda example: len(example.ids)):
            if not parts or (len(parts[-1]) + 1) * len(example.ids) > AT_ONCE:
                parts.append([])
            parts[-1].append(example)
        batches = (collate(part, lm.pad, lm.device, lm.opening) for part in parts)
        taken = tuple(DriftBatch(batch, torch.empty(0)).here(lm) for batch in batches)
        return cls(taken, sum(len(part.reference) for part in taken))

    @torch.no_grad()
    def measure(self, lm: LanguageModel) -> Tensor:
        """Every reply's share (n,) of the mean KL(base || adapted) per position, nats, from forward passes alone."""
        shares = []
        for part in self.parts:
            rows = part.batch.rows
            none = torch.zeros(len(part.batch.ids), device=rows.device)
            shares.append(none.index_add_(0, rows, self._kl(lm, part)))
        return torch.cat(shares)

    def most(self, shares: Tensor) -> "Kept":
        """The fewest replies that hold most of what `measure` has found."""
        order = shares.argsort(descending=True)
        held = shares[order].cumsum(0)
        wanted = order[: int((held < MOST * held[-1]).sum()) + 1]
        parts, first = [], 0
        for part in self.parts:
            rows = wanted[(wanted >= first) & (wanted < first + len(part.batch.ids))].sort().values - first
            first += len(part.batch.ids)
            if len(rows):
                parts.append(part.only(rows))
        return Kept(tuple(parts), self.positions)

    def backward(self, lm: LanguageModel, part: DriftBatch) -> None:
        """Backpropagate a part's share of it."""
        with torch.enable_grad():
            self._kl(lm, part).sum().backward()  # type: ignore[no-untyped-call]

    def _kl(self, lm: LanguageModel, part: DriftBatch) -> Tensor:
        now = torch.log_softmax(span_logits(lm.model, part.batch), dim=-1)
        return (part.reference.exp() * (part.reference - now)).sum(-1) / self.positions


@dataclass(frozen=True)
class Mend:
    """One accepted step: the divergence on what must stay, nats per position, and what is left of the answer."""

    kl_before: float
    kl_after: float
    answer_max: float


@dataclass(frozen=True)
class Mender:
    """Takes steps that undo harm, on one model."""

    lm: LanguageModel
    linearise: Linearise
    curvature: Curvature
    drift: DriftBatch
    kept: Kept
    config: Config
    adaptation: Adaptation

    def __call__(
        self, update: Update, views: Forgetting, most: int, between: Callable[[], None]
    ) -> tuple[Update, tuple[Mend, ...]]:
        """Mend an update until little is left to mend, or a step gains little.

        Args:
            views: what must stay gone.
            most: steps.
            between: called before every step; may raise to stop.

        Returns:
            The update, as it was where nothing was wrong with it, and the steps taken.
        """
        mends: list[Mend] = []
        if not most:
            return update, ()
        self.adaptation.use(update)
        harm = self.kept.measure(self.lm)
        while float(harm.sum()) > self.config.mend_from and len(mends) < most:
            between()
            taken = self._step(update, views, harm)
            if taken is None:
                break
            update, mend, harm = taken
            mends.append(mend)
        return update, tuple(mends)

    def _step(self, update: Update, views: Forgetting, shares: Tensor) -> tuple[Update, Mend, Tensor] | None:
        """One step from the update in force, whose divergence is so shared; None where none is worth it.

        Returns:
            The update, the step, and every reply's share of the divergence that is left.
        """
        before = float(shares.sum())
        allowed = (RISE * views.measure(self.lm)).clamp_min(self.config.depth)  # (n,): none may come back
        harm, direction = self._direction(self.kept.most(shares), views)
        slope = sum(part.inner(direction[name]) for name, part in harm.items())  # how fast the divergence falls

        def measure(step: float) -> Tensor:
            self.adaptation.use(plus(update, direction, step))
            return self.kept.measure(self.lm)

        step, after = _lowest(measure, shares, slope)
        if not float(after.sum()) <= GAIN * before:  # NaN among them
            return None
        mended = plus(update, direction, step)
        self.adaptation.use(mended)
        left, kl = views.measure(self.lm), self.drift.measure(self.lm).kl_mean
        if not bool((left <= allowed).all()) or not kl <= self.config.kl_budget:
            return None
        return mended, Mend(before, float(after.sum()), float(left.max())), after

    def _direction(self, harmed: Kept, views: Forgetting) -> tuple[dict[str, LowRank], dict[str, LowRank]]:
        """The gradient of the divergence, and the way against it on which the views' mean log p stays."""
        lm, sites, damping = self.lm, self.lm.sites, self.config.damping
        harm = self.linearise.gradient("kept", [partial(harmed.backward, lm, part) for part in harmed.parts])
        answer = self.linearise.gradient("answer", [partial(part.differentiate, lm, ascent) for part in views.parts()])
        down = self.curvature.precondition(sites, harm, damping)
        aside = self.curvature.precondition(sites, answer, damping)
        among = sum(part.inner(down[name]) for name, part in answer.items())
        share = among / max(sum(part.inner(aside[name]) for name, part in answer.items()), 1e-300)
        return harm, {name: part.plus(aside[name].scaled(-share)) for name, part in down.items()}


def _lowest(measure: Callable[[float], Tensor], before: Tensor, slope: float) -> tuple[float, Tensor]:
    """About the best step along a way whose cost falls with a slope, and the cost there: a parabola's lowest point.

    Args:
        measure: the cost after a step, in parts that add up.
    """
    if slope <= 0:
        return 0.0, before
    start = float(before.sum())
    first = start / slope * FIRST
    there = measure(first)
    bend = float(there.sum()) - start + slope * first  # of the parabola, at the first step
    best = first * max(slope * first / (2 * bend), 1 / SHORTEST) if bend > 0 else first
    if best > (1 - NEAR) * first:
        return first, there
    again = measure(best)
    return (best, again) if float(again.sum()) < float(there.sum()) else (first, there)
