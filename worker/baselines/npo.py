"""Negative preference optimisation (Zhang et al., arXiv 2404.05868, eq. 3): (2/β) E log(1 + (π/π_ref)^β).

With a retain term it is the paper's NPO+RT. As β falls to 0 its gradient tends to gradient ascent's (ibid., prop. 1).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.baselines.sequences import batch_of, kept_chunks, span_logs
from worker.baselines.task import Task, Unlearned
from worker.r2f.finetuning import Training, train


def npo_loss(logs: Tensor, reference: Tensor, beta: float) -> Tensor:
    """(2/β) mean log(1 + (π/π_ref)^β), from log π and log π_ref of whole spans (n,)."""
    return 2 / beta * torch.nn.functional.softplus(beta * (logs - reference)).mean()


@dataclass(frozen=True)
class NPO:
    """Settings."""

    training: Training = Training(rate=1e-4, steps=20)  # best on one fact: benchmarks/results/tuning.md
    beta: float = 0.1
    retain: float = 1.0  # weight of the kept examples' cross-entropy

    def __call__(self, task: Task) -> Unlearned:
        forget, kept = batch_of(task, task.forget), kept_chunks(task)
        with torch.no_grad():
            reference = span_logs(task.lm, forget)

        def objective(step: int) -> Tensor:
            pushed = npo_loss(span_logs(task.lm, forget), reference, self.beta)
            return pushed + self.retain * kept[step % len(kept)].nll(task.lm)

        config = task.config
        return Unlearned(
            train(task.lm, self.training, config.adapter_rank, config.seed, objective, progress=task.progress)
        )
