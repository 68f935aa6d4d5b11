"""Gradient difference: −γ NLL_f + α NLL_r (Liu et al., arXiv 2203.12817; so named by TOFU, arXiv 2401.06121)."""

from dataclasses import dataclass

from torch import Tensor

from worker.baselines.sequences import batch_of, kept_chunks, nll
from worker.baselines.task import Task, Unlearned
from worker.r2f.finetuning import Training, train


@dataclass(frozen=True)
class GradDiff:
    """Settings."""

    training: Training = Training(rate=1e-4, steps=12)  # best on one fact: benchmarks/results/tuning.md
    forget: float = 1.0  # γ
    retain: float = 1.0  # α

    def __call__(self, task: Task) -> Unlearned:
        forget, kept = batch_of(task, task.forget), kept_chunks(task)

        def objective(step: int) -> Tensor:
            return -self.forget * nll(task.lm, forget) + self.retain * kept[step % len(kept)].nll(task.lm)

        config = task.config
        return Unlearned(
            train(task.lm, self.training, config.adapter_rank, config.seed, objective, progress=task.progress)
        )
