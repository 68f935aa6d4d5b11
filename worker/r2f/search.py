"""How far to step along a direction, from forward passes alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.r2f.linearise import Linearisation
from worker.r2f.lowrank import LowRank

MAX_TRIES = 5  # forward passes of one step search
PROGRESS = 0.8  # of p(answer) that may be left at most where a step counts without reaching its goal
LAGGING = 0.5  # of the mean p(answer): where no more is left, a largest one without progress is a view's that lags
AHEAD = 4  # times below the goal that the mean may be while the largest is above it: the same


@dataclass(frozen=True)
class Trial:
    """A step that was tried, and p(answer) of every view after it."""

    step: float
    answer: Tensor

    @property
    def worst(self) -> float:
        return float(self.answer.max())

    @property
    def mean(self) -> float:
        return float(self.answer.mean())


def search_step(measure: Callable[[float], Tensor], first: float, before: Tensor, goal: float) -> tuple[Trial, int]:
    """Find a step after which the largest p(answer) lies in [goal / 10, 1.2 · goal], by secants in log p.

    Args:
        measure: p(answer) of every view for a step.
        first: the step to try first.
        before: p(answer) of every view without a step.
        goal: the largest p(answer) wanted.

    Returns:
        The accepted trial and the number of forward passes; when none reached the goal, the deepest of those tried.
        A search ends early where a longer step leaves more than a shorter one did; and where the mean has halved while
        the largest has hardly fallen, or is far below the goal while the largest is not there: what would move that
        view takes the others, and everything else, much too far.
    """
    start = float(before.max())
    low, high = (0.0, math.log(start)), None
    wanted, step = math.log(goal / 2), first
    trials: list[Trial] = []
    for _ in range(MAX_TRIES):
        trial = Trial(step, measure(step))
        trials.append(trial)
        if goal / 10 <= trial.worst <= 1.2 * goal:
            return trial, len(trials)
        best = min(trials, key=lambda t: t.worst)
        if trial.worst > goal and best is not trial and best.step < step and best.worst <= PROGRESS * start:
            return best, len(trials)  # the way has bent: the rest of it is for the next round, along a new gradient
        if high is None and trial.worst > goal and _lags(trial, before, goal):
            return trial, len(trials)
        here = (step, math.log(max(trial.worst, 1e-30)))
        if trial.worst > goal:
            low = here
        else:
            high = here
        if high is not None:
            share = (low[1] - wanted) / (low[1] - high[1])
            step = low[0] + (high[0] - low[0]) * min(max(share, 0.1), 0.9)
        else:
            share = (math.log(start) - wanted) / max(math.log(start) - here[1], 1e-3)
            step *= min(max(share, 1.3), 4.0)
    deep_enough = [trial for trial in trials if trial.worst <= 1.2 * goal]
    # the gentlest step that reaches the goal, else the one that came closest to it
    chosen = min(deep_enough, key=lambda t: t.step) if deep_enough else min(trials, key=lambda t: t.worst)
    return chosen, len(trials)


def _lags(trial: Trial, before: Tensor, goal: float) -> bool:
    """Whether a view lags behind the others: hardly fallen while the mean has halved, or while that is far below the
    goal and has fallen much further."""
    start = float(before.max())
    mean = trial.mean / float(before.mean())  # what is left of it
    if trial.worst > PROGRESS * start:
        return mean <= LAGGING
    return trial.mean <= goal / AHEAD and mean <= LAGGING * trial.worst / start


def first_step(at: Linearisation, direction: dict[str, LowRank], goal: float) -> float:
    """The step that takes p(answer) to half the goal if all views' log-odds fell together in a straight line.

    Log-odds follow a step more evenly than the loss does, whose slope vanishes with p.
    """
    slope = sum(at.gradient[name].inner(direction[name]) for name in direction)
    height = torch.logit(at.answer.max().clamp(max=1 - 1e-6)) - math.log(goal / 2)
    return float(height) * at.pull / max(slope, 1e-30)
