"""SCRUB (Kurmanji et al., arXiv 2302.09880, eq. 3): a student that disobeys its teacher on the forgotten.

Steps take turns: one that lowers α KL + γ cross-entropy on the kept, one that raises KL(teacher ‖ student) on the
forgotten. The raising ends early and the lowering goes on, so that what the raising broke is mended. The lowering comes
first: student and teacher begin as one, where the raised KL has no slope and Adam would step along rounding errors.
"""

from dataclasses import dataclass

from torch import Tensor

from worker.baselines.sequences import batch_of, divergence, frozen_logs, kept_chunks
from worker.baselines.task import Task, Unlearned
from worker.r2f.finetuning import Training, train
from worker.r2f.forward import span_logits


def raises(step: int, rounds: int) -> bool:
    """Whether a step is one of the first so many that raise, every other one from the second on."""
    return step % 2 == 1 and step < 2 * rounds


@dataclass(frozen=True)
class Scrub:
    """Settings."""

    training: Training = Training(rate=1e-3, steps=24)
    rounds: int = 9  # of raising
    alpha: float = 1.0  # weight of the kept KL
    gamma: float = 0.99  # weight of the kept cross-entropy

    def __call__(self, task: Task) -> Unlearned:
        lm, config = task.lm, task.config
        forget, kept = batch_of(task, task.forget), kept_chunks(task)
        teacher = frozen_logs(lm, forget)

        def objective(step: int) -> Tensor:
            if raises(step, self.rounds):
                return -divergence(teacher, span_logits(lm.model, forget))
            chunk = kept[step // 2 % len(kept)]
            return self.alpha * chunk.kl(lm) + self.gamma * chunk.nll(lm)

        return Unlearned(train(lm, self.training, config.adapter_rank, config.seed, objective, progress=task.progress))
