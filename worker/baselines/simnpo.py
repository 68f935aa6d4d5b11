"""SimNPO (Fan et al., arXiv 2410.07163, eq. 4): −(2/β) E log σ(−β log π / |y| − γ).

Length-normalised, and without a reference model, whose bias it removes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.baselines.sequences import averaged, batch_of, kept_chunks, token_logs
from worker.baselines.task import Task, Unlearned
from worker.r2f.finetuning import Training, train
from worker.r2f.forward import span_logits


def simnpo_loss(mean_logs: Tensor, beta: float, margin: float) -> Tensor:
    """−(2/β) mean log σ(−β log π/|y| − γ), from the mean log-probability of each span's tokens (n,)."""
    return -2 / beta * torch.nn.functional.logsigmoid(-beta * mean_logs - margin).mean()


@dataclass(frozen=True)
class SimNPO:
    """Settings."""

    training: Training = Training(rate=3.3e-4, steps=20)  # best on one fact: benchmarks/results/tuning.md
    beta: float = 2.5
    margin: float = 0.0  # γ
    retain: float = 1.0  # weight of the kept examples' cross-entropy

    def __call__(self, task: Task) -> Unlearned:
        forget, kept = batch_of(task, task.forget), kept_chunks(task)

        def objective(step: int) -> Tensor:
            logs = averaged(token_logs(span_logits(task.lm.model, forget), forget), forget)
            return simnpo_loss(logs, self.beta, self.margin) + self.retain * kept[step % len(kept)].nll(task.lm)

        config = task.config
        return Unlearned(
            train(task.lm, self.training, config.adapter_rank, config.seed, objective, progress=task.progress)
        )
