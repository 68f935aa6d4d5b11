"""Relearning attacks: how soon a forgotten fact comes back when an adapted model is fine-tuned.

RAP (paper, appendix C) trains on paraphrases of the target. It means something only beside two controls: the same
attack on a fact that the model never knew, and benign relearning on other facts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from worker.r2f.adaptation import Update
from worker.r2f.examples import Example, collate
from worker.r2f.finetuning import Training, on_top, train
from worker.r2f.forward import span_logits
from worker.r2f.language import LanguageModel


@dataclass(frozen=True)
class Attack:
    """A LoRA fine-tuning of stated rank, rate and steps."""

    rank: int = 8
    rate: float = 1e-3
    steps: int = 5
    chunk: int | None = None  # examples of a step, in turn; all if absent
    seed: int = 0


def relearn(lm: LanguageModel, update: Update, examples: Sequence[Example], attack: Attack) -> Update:
    """The update after fine-tuning on examples with it in force: both together."""
    size = attack.chunk or len(examples)

    def objective(step: int) -> Tensor:
        chosen = [examples[(step * size + n) % len(examples)] for n in range(size)]
        batch = collate(chosen, lm.pad, lm.device, lm.opening)
        logs = span_logits(lm.model, batch).log_softmax(-1).gather(-1, batch.tokens[:, None]).squeeze(-1)
        return -(batch.weights * logs).sum()

    learnt = train(lm, Training(attack.rate, attack.steps), attack.rank, attack.seed, objective, start=update)
    return on_top(update, learnt)
