"""FullGrad (paper, appendix B): the full-model gradient, made exact.

The service truncates it to the adapter's rank; the benchmark also judges it untruncated, as the dense upper bound.
"""

from dataclasses import dataclass

from worker.baselines.gradients import ExactGradient, walk
from worker.baselines.task import Task, Unlearned


@dataclass(frozen=True)
class FullGradient:
    """Settings."""

    precondition: bool = True  # by the same curvature as R2F's
    views: int | None = None  # phrasings whose gradient is taken; the paper's naive form takes one

    def __call__(self, task: Task) -> Unlearned:
        return walk(task, ExactGradient(task.lm), task.forget[: self.views], precondition=self.precondition)
