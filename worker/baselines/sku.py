"""SKU (Liu et al., arXiv 2402.10058): learn the bad, then subtract it: θ − (θ_bad − θ_0).

θ_bad is learnt by LoRA from three terms: guided distortion (say the answer), random disassociation (say the answer to
other questions too) and preservation divergence (leave the base model on what must stay, so that subtracting returns).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.baselines.sequences import batch_of, kept_chunks, nll
from worker.baselines.task import Task, Unlearned
from worker.r2f.examples import Example
from worker.r2f.finetuning import Training, train


@dataclass(frozen=True)
class SKU:
    """Settings."""

    training: Training = Training(rate=1e-3, steps=12)
    distortion: float = 1.0
    disassociation: float = 0.5
    preservation: float = 0.1
    most: float = 1.0  # nats at which the divergence, which has no bound, counts no further
    strength: float = 1.0  # how often the learnt is subtracted

    def __call__(self, task: Task) -> Unlearned:
        lm, config = task.lm, task.config
        forget, kept = batch_of(task, task.forget), kept_chunks(task, self.training.chunk)
        random = batch_of(task, mismatched(task))

        def objective(step: int) -> Tensor:
            said = self.distortion * nll(lm, forget) + self.disassociation * nll(lm, random)
            return said - self.preservation * kept[step % len(kept)].kl(lm).clamp(max=self.most)

        bad = train(lm, self.training, config.adapter_rank, config.seed, objective, progress=task.progress)
        return Unlearned({name: part.scaled(-self.strength) for name, part in bad.items()})


def mismatched(task: Task) -> list[Example]:
    """The answers after prompts they do not belong to."""
    generator = torch.Generator().manual_seed(task.config.seed)
    chosen = torch.randint(len(task.retain), (len(task.forget),), generator=generator).tolist()
    return [_joined(task.retain[n], forget) for n, forget in zip(chosen, task.forget, strict=True)]


def _joined(prompt: Example, answer: Example) -> Example:
    """The prompt of one example with the span of another after it."""
    head = prompt.ids[: prompt.positions[0] + 1]
    places = tuple(range(len(head) - 1, len(head) - 1 + len(answer.tokens)))
    return Example((*head, *answer.tokens), places, answer.tokens, answer.demoted, answer.target, answer.telling)
