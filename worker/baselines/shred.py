"""SHRED (Hu et al., arXiv 2605.07482): self-distillation with demoted logits, and nothing kept by name.

The teacher's logit of the true token is taken down where a text tells what was memorised, and stays as it is at all
other positions. One KL to that teacher forgets and keeps at once. The paper finds those positions in a text to be
forgotten by their low probability; here the texts are the model's own replies, which have the answer among their surest
tokens, and its place is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.baselines.sequences import batch_of, divergence
from worker.baselines.task import Task, Unlearned
from worker.r2f.examples import Batch, Example
from worker.r2f.finetuning import Training, train
from worker.r2f.forward import span_logits


def demoted_teacher(logits: Tensor, batch: Batch, told: Tensor, by: float) -> Tensor:
    """Teacher log-probabilities (S × V): the true token's logit lowered where it tells what must go, ``told`` (S,)."""
    return torch.log_softmax(logits.index_put((told, batch.tokens[told]), logits.new_tensor(-by), accumulate=True), -1)


def telling(replies: Sequence[Example], answers: Sequence[Example]) -> Tensor:
    """Which tokens of whole replies (S,) are their answers': those examples end with them."""
    told: list[bool] = []
    for reply in replies:
        own = {place for one in answers if one.ids == reply.ids[: len(one.ids)] for place in one.positions}
        told += [place in own for place in reply.positions]
    return torch.tensor(told).nonzero()[:, 0]


def texts(task: Task) -> tuple[Example, ...]:
    """The model's own replies; for a target that it never says by itself, up to the end of the answer put to it."""
    said = {reply.target for reply in task.replies}
    return (*task.replies, *(example for example in task.forget if example.target not in said))


@dataclass(frozen=True)
class Shred:
    """Settings."""

    training: Training = Training(rate=1e-3, steps=20)
    by: float = 10.0  # how far an answer's tokens are demoted, in logits

    def __call__(self, task: Task) -> Unlearned:
        lm, config = task.lm, task.config
        replies = texts(task)
        batch, told = batch_of(task, replies), telling(replies, task.forget).to(lm.device)
        with torch.no_grad():
            teacher = demoted_teacher(span_logits(lm.model, batch), batch, told, self.by)

        def objective(step: int) -> Tensor:
            return divergence(teacher, span_logits(lm.model, batch))

        return Unlearned(train(lm, self.training, config.adapter_rank, config.seed, objective, progress=task.progress))
