"""Probabilities of spans, and what must be kept, as the baselines' losses see them.

Letters: n examples, S span positions over all of them, V the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.baselines.task import NoExamplesError, Task
from worker.r2f.examples import Batch, Example, collate
from worker.r2f.forward import span_logits
from worker.r2f.language import LanguageModel

RETAINED = 8  # retain examples that one step sees


def token_logs(logits: Tensor, batch: Batch) -> Tensor:
    """log p of every span token (S,)."""
    return torch.log_softmax(logits, dim=-1).gather(-1, batch.tokens[:, None]).squeeze(-1)


def summed(values: Tensor, batch: Batch) -> Tensor:
    """Sums over each example's span (n,) of values at span positions (S,)."""
    return torch.zeros(len(batch.ids), dtype=values.dtype, device=values.device).index_add(0, batch.rows, values)


def averaged(values: Tensor, batch: Batch) -> Tensor:
    """Means over each example's span (n,)."""
    return summed(values, batch) / torch.bincount(batch.rows, minlength=len(batch.ids))


def span_logs(lm: LanguageModel, batch: Batch) -> Tensor:
    """log p of every example's whole span (n,)."""
    return summed(token_logs(span_logits(lm.model, batch), batch), batch)


def nll(lm: LanguageModel, batch: Batch) -> Tensor:
    """Mean over examples of the mean negative log-likelihood over span positions."""
    return -averaged(token_logs(span_logits(lm.model, batch), batch), batch).mean()


def divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """Mean over positions of KL(reference ‖ now) for reference log-probabilities and logits, both (S × V)."""
    return (reference.exp() * (reference - torch.log_softmax(logits, dim=-1))).sum(-1).mean()


def frozen_logs(lm: LanguageModel, batch: Batch) -> Tensor:
    """Log-probabilities (S × V) of the model as it now is, without a graph."""
    with torch.no_grad():
        return torch.log_softmax(span_logits(lm.model, batch), dim=-1)


@dataclass(frozen=True)
class Kept:
    """A chunk of what must be kept, and the base model's log-probabilities over it."""

    batch: Batch
    reference: Tensor  # (S × V)

    def nll(self, lm: LanguageModel) -> Tensor:
        return nll(lm, self.batch)

    def kl(self, lm: LanguageModel) -> Tensor:
        """KL from the base model."""
        return divergence(self.reference, span_logits(lm.model, self.batch))


def kept_chunks(task: Task) -> list[Kept]:
    """The retain examples in shuffled chunks; one chunk a step, in turn.

    Raises:
        NoExamplesError: there are none.
    """
    if not task.retain:
        raise NoExamplesError(NoExamplesError.__doc__)
    generator = torch.Generator().manual_seed(task.config.seed)
    order = torch.randperm(len(task.retain), generator=generator).tolist()
    chunks = []
    for start in range(0, len(order), RETAINED):
        batch = batch_of(task, [task.retain[n] for n in order[start : start + RETAINED]])
        chunks.append(Kept(batch, frozen_logs(task.lm, batch)))
    return chunks


def batch_of(task: Task, examples: Sequence[Example]) -> Batch:
    """Examples as one batch on the model's device; a chat template's opening goes through it once."""
    return collate(examples, task.lm.pad, task.lm.device, task.lm.opening)
