"""Mending: what must stay is brought back towards where it was, along a way on which what must go stays gone.

The path only avoids harm to first order: the curvature says which directions are dear. Where it has done some all the
same, the model as adapted knows how to undo it: the gradient of the divergence on what must stay, preconditioned, is a
Newton step on it, and taking out of that step what would move p(answer) leaves the step of sequential quadratic
programming for "least divergence with p(answer) as it is" (Nocedal and Wright, Numerical Optimization, ch. 18).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from worker.r2f.linearise import SCOUTS, Linearise
from worker.r2f.losses import ascent
from worker.r2f.lowrank import LowRank

GAIN = 0.8  # of the divergence that a mend may leave at most, else it is the last
RISE = 1.1  # of a view's p(answer) that a mend may leave, where that is above the depth
FIRST = 0.8  # of the way to no divergence at all, if the slope lasted: the first step tried
NEAR = 0.4  # by which a better step is shorter at least, to be worth a try
SHORTEST = 8.0  # times shorter it may be


@dataclass(frozen=True)
class Kept:
    """Replies that must stay, with the base model's distributions over them."""

    parts: tuple[DriftBatch, ...]  # as many replies in each as one pass takes

    @classmethod
    def of(cls, lm: LanguageModel, examples: Sequence[Example]) -> "Kept":
        """Take the distributions of the model as it is now."""
        parts: list[list[Example]] = []
        for example in sorted(examples, key=lambda example: len(example.ids)):
            if not parts or (len(parts[-1]) + 1) * len(example.ids) > AT_ONCE:
                parts.append([])
            parts[-1].append(example)
        batches = (collate(part, lm.pad, lm.device, lm.opening) for part in parts)
        return cls(tuple(DriftBatch(batch, torch.empty(0)).here(lm) for batch in batches))

    @property
    def positions(self) -> int:
        return sum(len(part.reference) for part in self.parts)

    @torch.no_grad()
    def measure(self, lm: LanguageModel) -> float:
        """Mean KL(base || adapted) per position, nats, from forward passes alone."""
        return sum(float(self._kl(lm, part)) for part in self.parts)

    def backward(self, lm: LanguageModel) -> None:
        """Backpropagate it, part after part; whoever visits the sites adds up."""
        with torch.enable_grad():
            for part in self.parts:
                self._kl(lm, part).backward()  # type: ignore[no-untyped-call]

    def _kl(self, lm: LanguageModel, part: DriftBatch) -> Tensor:
        now = torch.log_softmax(span_logits(lm.model, part.batch), dim=-1)
        return (part.reference.exp() * (part.reference - now)).sum() / self.positions


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
        while harm > self.config.mend_from and len(mends) < most:
            between()
            taken = self._step(update, views, harm)
            if taken is None:
                break
            update, mend = taken
            harm = mend.kl_after
            mends.append(mend)
        return update, tuple(mends)

    def _step(self, update: Update, views: Forgetting, before: float) -> tuple[Update, Mend] | None:
        """One step from the update in force, where the divergence is so large; None where none is worth it."""
        allowed = (RISE * views.measure(self.lm)).clamp_min(self.config.depth)  # (n,): none may come back
        harm, direction = self._direction(views)
        slope = sum(part.inner(direction[name]) for name, part in harm.items())  # how fast the divergence falls

        def measure(step: float) -> float:
            self.adaptation.use(plus(update, direction, step))
            return self.kept.measure(self.lm)

        step, after = _lowest(measure, before, slope)
        if not after <= GAIN * before:  # NaN among them
            return None
        mended = plus(update, direction, step)
        self.adaptation.use(mended)
        left, kl = views.measure(self.lm), self.drift.measure(self.lm).kl_mean
        fine = bool((left <= allowed).all()) and kl <= self.config.kl_budget
        return (mended, Mend(before, after, float(left.max()))) if fine else None

    def _direction(self, views: Forgetting) -> tuple[dict[str, LowRank], dict[str, LowRank]]:
        """The gradient of the divergence, and the way against it on which the views' mean log p stays."""
        sites, damping = self.lm.sites, self.config.damping
        lm, kept, few = self.lm, self.kept, views.few(SCOUTS)
        harm = self.linearise.gradient("kept", lambda: kept.backward(lm))
        answer = self.linearise.gradient(
            "answer", lambda: views.differentiate(lm, ascent), lambda: few.differentiate(lm, ascent)
        )
        down = self.curvature.precondition(sites, harm, damping)
        aside = self.curvature.precondition(sites, answer, damping)
        among = sum(part.inner(down[name]) for name, part in answer.items())
        share = among / max(sum(part.inner(aside[name]) for name, part in answer.items()), 1e-300)
        return harm, {name: part.plus(aside[name].scaled(-share)) for name, part in down.items()}


def _lowest(measure: Callable[[float], float], before: float, slope: float) -> tuple[float, float]:
    """About the best step along a way whose cost falls with a slope, and the cost there: a parabola's lowest point.

    Args:
        measure: the cost after a step.
    """
    if slope <= 0:
        return 0.0, before
    first = before / slope * FIRST
    there = measure(first)
    bend = there - before + slope * first  # of the parabola, at the first step
    best = first * max(slope * first / (2 * bend), 1 / SHORTEST) if bend > 0 else first
    if best > (1 - NEAR) * first:
        return first, there
    again = measure(best)
    return (best, again) if again < there else (first, there)
