"""DeepCUT (He et al., arXiv 2503.14900): L_CE on the kept + γ L_f, contrastive in the latent space.

Made for classifiers, where a class is a label; for a language model the label is the answer. Every forgotten phrasing
is an anchor: pushed from the others of its class (the same answer), pulled to those of other classes (kept replies).
Dropout on the states gives each two looks, as the paper does.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.baselines.sequences import batch_of, kept_chunks
from worker.baselines.task import Task, Unlearned
from worker.r2f.examples import Batch
from worker.r2f.finetuning import Training, train
from worker.r2f.forward import final_states
from worker.r2f.language import LanguageModel


def contrast(anchors: Tensor, same: Tensor, other: Tensor, temperature: float) -> Tensor:
    """−mean_i mean_a log(exp(z_i·z_a / τ) / Σ_p exp(z_i·z_p / τ)) over unit vectors.

    Args:
        anchors: z_i (n × d).
        same: of the anchors' own class, z_p (m × d): pushed away.
        other: of other classes, z_a (k × d): pulled near.
    """
    near, far = anchors @ other.T / temperature, anchors @ same.T / temperature
    return -(near.mean(1) - far.logsumexp(1)).mean()


def answer_states(lm: LanguageModel, batch: Batch) -> Tensor:
    """The last hidden states that predict each span's first token (n × d)."""
    first = batch.firsts
    return final_states(lm.model, batch)[batch.rows[first], batch.positions[first]]


@dataclass(frozen=True)
class DeepCut:
    """Settings."""

    training: Training = Training(rate=1e-3, steps=20)
    gamma: float = 1.0
    temperature: float = 0.1  # τ
    dropout: float = 0.1

    def __call__(self, task: Task) -> Unlearned:
        lm, config = task.lm, task.config
        forget, kept = batch_of(task, task.forget), kept_chunks(task)
        generator = torch.Generator().manual_seed(config.seed)

        def look(states: Tensor) -> Tensor:
            mask = torch.rand(states.shape, generator=generator).to(states.device) >= self.dropout
            return torch.nn.functional.normalize(states * mask, dim=-1)

        def objective(step: int) -> Tensor:
            chunk = kept[step % len(kept)]
            anchors = answer_states(lm, forget)
            other = look(answer_states(lm, chunk.batch))
            forgetting = contrast(look(anchors), look(anchors), other, self.temperature)
            return chunk.nll(lm) + self.gamma * forgetting

        return Unlearned(train(lm, self.training, config.adapter_rank, config.seed, objective, progress=task.progress))
