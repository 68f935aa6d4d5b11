"""FLAT (Wang et al., arXiv 2410.11143), with the total variation: −½ tanh(p̄_template) + ½ tanh(p̄_forget).

p̄ is the mean token probability of a reply. Only the forgotten prompts are used: a template reply takes the answer's
place, and nothing is kept by name.
"""

from dataclasses import dataclass

from torch import Tensor

from worker.baselines.sequences import averaged, batch_of, token_logs
from worker.baselines.task import Task, Unlearned
from worker.r2f.examples import Batch
from worker.r2f.finetuning import Training, train
from worker.r2f.forward import span_logits
from worker.r2f.language import LanguageModel


def flat_loss(template: Tensor, forget: Tensor) -> Tensor:
    """From mean token probabilities of template replies and of forgotten answers (n,)."""
    return -template.tanh().mean() / 2 + forget.tanh().mean() / 2


def mean_probability(lm: LanguageModel, batch: Batch) -> Tensor:
    """p̄ (n,): the mean of the span tokens' probabilities."""
    return averaged(token_logs(span_logits(lm.model, batch), batch).exp(), batch)


@dataclass(frozen=True)
class Flat:
    """Settings."""

    training: Training = Training(rate=1e-3, steps=20)
    template: str = "I'm sorry, I don't know that."

    def __call__(self, task: Task) -> Unlearned:
        lm = task.lm
        said = [lm.whole_reply(prompt, lm.continued(prompt, self.template)) for prompt in task.prompts]
        template = batch_of(task, [example for example in said if example])
        forget = batch_of(task, task.forget)

        def objective(step: int) -> Tensor:
            return flat_loss(mean_probability(lm, template), mean_probability(lm, forget))

        config = task.config
        return Unlearned(train(lm, self.training, config.adapter_rank, config.seed, objective, progress=task.progress))
