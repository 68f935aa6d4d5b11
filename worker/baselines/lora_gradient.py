"""LoRA_sin and LoRA_mul (paper, appendix B): the LoRA gradient of one phrasing, or the mean over all, as the update."""

from dataclasses import dataclass

from worker.baselines.gradients import LoraGradient, walk
from worker.baselines.task import Task, Unlearned


@dataclass(frozen=True)
class LoraUpdate:
    """Settings."""

    views: int | None = None  # phrasings; None: all of them (LoRA_mul), 1: LoRA_sin

    def __call__(self, task: Task) -> Unlearned:
        joining = self.views is None  # a single phrasing stays single
        return walk(task, LoraGradient(task.lm, task.config), task.forget[: self.views], joining=joining)
