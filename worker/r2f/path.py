"""The path of a deletion: several re-linearised rounds, each a step search with forward passes only.

One big step leaves the linear regime: replies degenerate and generic KL rises. So every round takes the gradient at the
model as adapted so far, decodes and preconditions it, and goes as far along it as takes p(answer) down by a fixed
factor, or into half of what is left of the utility budget. Where one view of many lags behind, the rest of its way is
for the next round, along a gradient that the others have all but left. Views whose reply still leaks join in.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from torch import Tensor

from worker.r2f.adaptation import Adaptation, Update, plus
from worker.r2f.config import Config
from worker.r2f.curvature import Curvature
from worker.r2f.drift import DriftBatch
from worker.r2f.examples import Example
from worker.r2f.forgetting import Forgetting
from worker.r2f.language import LanguageModel
from worker.r2f.linearise import FirstOrder
from worker.r2f.quantisation import Merged
from worker.r2f.search import PROGRESS, Trial, first_step, search_step

SHORTER = 3  # times that a step which costs too much is made shorter
RISE = 1.1  # of the largest p(answer): a view that lags may move about, not come back


@dataclass(frozen=True)
class Step:
    """One accepted round."""

    step: float
    answer_max: float
    answer_mean: float
    kl: float
    forwards: int
    seconds: float


@dataclass(frozen=True)
class Path:
    """Where the rounds led."""

    update: Update
    steps: tuple[Step, ...]
    examples: tuple[Example, ...]  # the training views, leaks that joined included


@dataclass(frozen=True)
class Walker:
    """Takes single rounds on one model."""

    lm: LanguageModel
    linearise: FirstOrder
    curvature: Curvature
    drift: DriftBatch
    config: Config
    adaptation: Adaptation | Merged

    def advance(self, update: Update, views: Forgetting) -> tuple[Update, Step] | None:
        """One round from an update; None where it does not lower p(answer) enough within the utility budget."""
        started = time.perf_counter()
        self.adaptation.use(update)
        at = self.linearise(views)
        worst = float(at.answer.max())
        direction = self.curvature.precondition(self.lm.sites, at.gradient, self.config.damping)
        # half the way where all is at the depth already, as for a reply whose likely spelling was another
        goal = max(worst / self.config.factor, min(self.config.depth, worst) / 2)

        def measure(step: float) -> Tensor:
            self.adaptation.use(plus(update, direction, step))
            return views.measure(self.lm)

        trial, forwards = search_step(measure, first_step(at, direction, goal), at.answer, goal)
        self.adaptation.use(plus(update, direction, trial.step))
        kl, worth = self.drift.measure(self.lm).kl_mean, trial.worst < worst or _gained(trial, at.answer)
        if worth and kl > self.config.kl_budget:
            trial, kl, tries = self._shortened(update, measure, trial, kl)
            forwards, worth = forwards + tries, _gained(trial, at.answer)
        if not (worth and kl <= self.config.kl_budget):
            return None
        seconds = time.perf_counter() - started
        return plus(update, direction, trial.step), Step(trial.step, trial.worst, trial.mean, kl, forwards, seconds)

    def _shortened(
        self, update: Update, measure: Callable[[float], Tensor], trial: Trial, kl: float
    ) -> tuple[Trial, float, int]:
        """A step that leads into half of what is left of the budget, its drift, and the forward passes it took.

        The root of the drift grows with the way, as long as that goes on in one direction; if it does not, the drift of
        the last try may still be too large.
        """
        self.adaptation.use(update)
        spent, tries = self.drift.measure(self.lm).kl_mean, 0
        aim = (spent + self.config.kl_budget) / 2  # the rest is for the rounds to come
        while spent < self.config.kl_budget < kl and tries < SHORTER:
            step = trial.step * (math.sqrt(aim) - math.sqrt(spent)) / (math.sqrt(kl) - math.sqrt(spent))
            trial, tries = Trial(step, measure(step)), tries + 1
            kl = self.drift.measure(self.lm).kl_mean
        return trial, kl, tries


def _gained(trial: Trial, before: Tensor) -> bool:
    """Whether a step that does not bring the largest p(answer) down is worth it: the mean has fallen, nothing risen."""
    return trial.mean <= PROGRESS * float(before.mean()) and trial.worst <= RISE * float(before.max())


def walk(
    lm: LanguageModel,
    linearise: FirstOrder,
    curvature: Curvature,
    drift: DriftBatch,
    examples: Sequence[Example],
    leaks: Callable[[], list[Example]],
    config: Config,
    progress: Callable[[float], None],
    merged: Merged | None = None,
) -> Path:
    """Take the training views' p(answer) down to the depth, round by round.

    Args:
        leaks: asks the adapted model the training views again and returns the replies that still hold an answer.
        progress: called with the share of the way done after every round; may raise to stop.
        merged: where the update is to be merged and rounded: every gradient and every step is taken there. None: it
            stays beside the weights.
    """
    views, examples = Forgetting.of(lm, examples), list(examples)
    update: Update = {}
    steps: list[Step] = []
    with nullcontext(merged) if merged else Adaptation(lm.model, lm.sites) as adaptation:
        walker = Walker(lm, linearise, curvature, drift, config, adaptation)
        while len(steps) < config.max_rounds:
            if steps and steps[-1].answer_max <= config.depth:
                adaptation.use(update)
                fresh = leaks()
                if not fresh:
                    break
                examples += fresh
                views = Forgetting.of(lm, examples)
            # once more where it fails: the factors have been turned towards this gradient by then
            taken = walker.advance(update, views) or walker.advance(update, views)
            if taken is None:
                break  # further along this path the model pays more than the fact is worth
            update, step = taken
            steps.append(step)
            progress(len(steps) / config.max_rounds)
    return Path(update, tuple(steps), tuple(examples))
