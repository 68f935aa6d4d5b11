"""LoRA_sin and LoRA_mul (paper, appendix B): the LoRA gradient of one phrasing, or the mean over all, as the update."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from worker.baselines.gradients import walk
from worker.baselines.task import Task, Unlearned
from worker.r2f.decoder import assemble, depth_of, spectrum
from worker.r2f.gradients import Sketch
from worker.r2f.knowledge import some_of_each
from worker.r2f.linearise import Linearise
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site


@dataclass(frozen=True)
class LoraUpdate:
    """Settings."""

    views: int | None = None  # phrasings of each target; None: all of them (LoRA_mul), 1: LoRA_sin

    def __call__(self, task: Task) -> Unlearned:
        forget = task.forget if self.views is None else some_of_each(task.forget, self.views)
        joining = self.views is None  # a single phrasing stays single
        return walk(task, Linearise(task.lm, two_sided, task.config, align=False), forget, joining=joining)


def two_sided(sites: Sequence[Site], sketches: Mapping[str, Sketch]) -> dict[str, LowRank]:
    """GAᵀA + BBᵀG − BBᵀGAᵀA of every site: the gradient as far as both LoRA factors let it through, nothing decoded.

    Both are non-zero, as in R2F: PEFT's start, B = 0, lets through no more than GAᵀA.
    """
    s = spectrum(sites, sketches, depth_of(sites))
    return assemble(sites, sketches, s, torch.zeros_like(s.sigma))
