"""FullGrad (paper, appendix B): the full-model gradient, made exact.

The service truncates it to the adapter's rank; the benchmark also judges it untruncated, as the dense upper bound.
"""

from dataclasses import dataclass

from worker.baselines.gradients import ExactGradient, walk
from worker.baselines.task import Task, Unlearned


@dataclass(frozen=True)
class FullGradient:
    """The update along the gradient of all phrasings; it has no settings of its own."""

    def __call__(self, task: Task) -> Unlearned:
        """See Unlearner."""
        return walk(task, ExactGradient(task.lm), task.forget)
