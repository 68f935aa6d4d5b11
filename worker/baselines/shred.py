"""SHRED (Hu et al., arXiv 2605.07482): self-distillation with demoted logits, and nothing kept by name.

In every forgotten reply the least probable tokens are taken for what was memorised: the teacher's logit of the true
token is taken down there, and stays as it is at all other positions. One KL to that teacher forgets and keeps at once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.baselines.sequences import batch_of, divergence, token_logs
from worker.baselines.task import Task, Unlearned
from worker.r2f.examples import Batch
from worker.r2f.finetuning import Training, train
from worker.r2f.forward import span_logits


def demoted_teacher(logits: Tensor, batch: Batch, share: float, by: float) -> Tensor:
    """Teacher log-probabilities (S × V): the true token's logit lowered at each example's least probable share."""
    logs, target = token_logs(logits, batch), logits.clone()
    for row in range(len(batch.ids)):
        own = (batch.rows == row).nonzero()[:, 0]
        chosen = own[logs[own].argsort()[: max(1, round(share * len(own)))]]
        target[chosen, batch.tokens[chosen]] -= by
    return torch.log_softmax(target, dim=-1)


@dataclass(frozen=True)
class Shred:
    """Settings."""

    training: Training = Training(rate=1e-3, steps=20)
    share: float = 0.4  # of a reply's tokens that are demoted
    by: float = 10.0  # how far, in logits

    def __call__(self, task: Task) -> Unlearned:
        lm, config = task.lm, task.config
        batch = batch_of(task, task.replies or task.forget)
        with torch.no_grad():
            teacher = demoted_teacher(span_logits(lm.model, batch), batch, self.share, self.by)

        def objective(step: int) -> Tensor:
            return divergence(teacher, span_logits(lm.model, batch))

        return Unlearned(train(lm, self.training, config.adapter_rank, config.seed, objective, progress=task.progress))
