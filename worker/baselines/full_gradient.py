"""FullGrad (paper, appendix B): the full-model gradient, made exact.

The service truncates it to the adapter's rank; the benchmark also judges it untruncated, as the dense upper bound.
"""

from worker.baselines.gradients import ExactGradient, walk
from worker.baselines.task import Task, Unlearned


def full_gradient(task: Task) -> Unlearned:
    """The update along the gradient of all phrasings."""
    return walk(task, ExactGradient(task.lm), task.forget)
