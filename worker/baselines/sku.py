"""SKU (Liu et al., arXiv 2402.10058): learn the bad, then subtract it: θ − (θ_bad − θ_0).

θ_bad is learnt by LoRA from three terms, weighed as in the authors' code: guided distortion (say the answer), random
disassociation (say what answers other questions) and preservation divergence (leave the base model on what must stay,
so that subtracting returns).
"""

from collections.abc import Sequence
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
    distortion: float = 0.5
    disassociation: float = 1.0
    preservation: float = 1.0
    most: float = 1.0  # nats at which the divergence, which has no bound, counts no further
    strength: float = 1.0  # how often the learnt is subtracted

    def __call__(self, task: Task) -> Unlearned:
        lm, config = task.lm, task.config
        forget, kept = batch_of(task, task.forget), kept_chunks(task)
        random = batch_of(task, mismatched(task))

        def objective(step: int) -> Tensor:
            said = self.distortion * nll(lm, forget) + self.disassociation * nll(lm, random)
            return said - self.preservation * kept[step % len(kept)].kl(lm).clamp(max=self.most)

        bad = train(lm, self.training, config.adapter_rank, config.seed, objective, progress=task.progress)
        return Unlearned({name: part.scaled(-self.strength) for name, part in bad.items()})


def mismatched(task: Task) -> list[Example]:
    """The forgotten prompts, each with a reply that belongs to another."""
    generator = torch.Generator().manual_seed(task.config.seed)
    chosen = torch.randint(len(task.retain), (len(task.prompts),), generator=generator).tolist()
    pairs = zip(task.prompts, (task.retain[n] for n in chosen), strict=True)
    return [_joined(task.lm.encode(task.lm.render(prompt)), other, task.lm.context) for prompt, other in pairs]


def _joined(head: Sequence[int], reply: Example, context: int) -> Example:
    """A prompt with the span of another's reply after it, as far as there is room."""
    tokens = reply.tokens[: context - len(head)]
    places = tuple(range(len(head) - 1, len(head) - 1 + len(tokens)))
    return Example((*head, *tokens), places, tokens, reply.demoted[: len(tokens)])
