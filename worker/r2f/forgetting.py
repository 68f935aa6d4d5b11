"""What is to be forgotten: the training views as one batch, their p(answer), and the loss that takes it down."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.r2f.config import FALL
from worker.r2f.examples import Batch, Example, collate, demoted_mask
from worker.r2f.forward import span_logits
from worker.r2f.language import LanguageModel
from worker.r2f.losses import Loss, softened

_TINY = 1e-30
_SURE = 1 - 1e-9  # a probability above it has no log-odds to speak of
AT_ONCE = 2048  # tokens of one pass, padding included; a backward pass keeps about 1.4 MB for each (SmolLM2-135M)


@dataclass(frozen=True)
class Forgetting:
    """The training views as one batch, with what is demoted in them."""

    batch: Batch
    demoted: Tensor  # (S × V) bool

    @classmethod
    def of(cls, lm: LanguageModel, examples: Sequence[Example], *, whole: bool = False) -> "Forgetting":
        """Some examples of a model.

        Args:
            whole: they go through it in one piece, so that whoever visits a site sees it once in a pass.
        """
        vocabulary = lm.model.get_output_embeddings().weight.shape[0]  # type: ignore[no-untyped-call]
        opening = () if whole else lm.opening
        return cls(collate(examples, lm.pad, lm.device, opening), demoted_mask(examples, vocabulary, lm.device))

    def answer(self, logits: Tensor) -> Tensor:
        """p(answer) of every view (n,): the mass on the tokens that may start the answer where its span begins.

        Where several tokens tell it only together, their joint probability.
        """
        batch, told = self.batch, self.batch.telling
        starts = self._mass(logits.detach(), batch.firsts).sum(-1)
        own = self._mass(logits.detach(), told).gather(-1, batch.tokens[told][:, None]).squeeze(-1)
        joint = own.new_zeros(len(batch.ids)).index_add_(0, batch.rows[told], own.clamp_min(_TINY).log()).exp()
        return torch.where(self._alone(), starts, joint)

    def even(self, logits: Tensor) -> Tensor:
        """Weights of the loss at every span position (S,).

        The softened loss pushes a position's log-odds by its p. A span's later tokens are often sure once the first is
        given, and would take over: here none counts for more than the view's p(answer). Where several tokens tell the
        answer only together, no other counts, and each has a part of the weight, so that a round takes the view about
        as far down as one that a single token tells.
        """
        batch, answer = self.batch, self.answer(logits)
        p = self._mass(logits, slice(None)).sum(-1)  # (S,)
        share = (answer[batch.rows] / p.clamp_min(_TINY)).clamp(max=1)
        tokens = torch.bincount(batch.rows[batch.telling], minlength=len(batch.ids))
        parts = torch.where(self._alone()[batch.rows], 1, part(answer, tokens)[batch.rows] * batch.telling)
        return batch.weights * share * parts

    def _alone(self) -> Tensor:
        """Which views' first token tells the answer by itself (n,)."""
        batch = self.batch
        return batch.telling[batch.firsts] & (torch.bincount(batch.rows[batch.telling]) == 1)

    def _mass(self, logits: Tensor, spans: Tensor | slice) -> Tensor:
        """At some span positions, the probability of each token that is demoted there (· × V)."""
        return torch.softmax(logits[spans], dim=-1) * self.demoted[spans]

    def parts(self) -> Iterator["Forgetting"]:
        """The views in order, as many at a time as one pass takes, one at least."""
        n, length = self.batch.ids.shape
        room = max(1, AT_ONCE // length)
        if n <= room:
            yield self
            return
        for first in range(0, n, room):
            yield self._of(torch.arange(first, min(first + room, n), device=self.batch.ids.device))

    def backward(self, logits: Tensor, loss: Loss = softened) -> Tensor:
        """Backpropagate the unlearning loss from logits (S × V) that carry a graph.

        Returns:
            How fast the loss falls when the log-odds of all that is demoted fall together, a scalar.
        """
        logits.retain_grad()
        whole = (loss(logits, self.batch.tokens, self.demoted) * self.even(logits.detach())).sum()
        whole.backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        return (logits.grad * self.demoted).sum()

    def differentiate(self, lm: LanguageModel, loss: Loss = softened) -> tuple[Tensor, Tensor]:
        """Backpropagate the unlearning loss of all views, part after part; whoever visits the sites adds up.

        Returns:
            p(answer) of every view (n,), and what `backward` returns.
        """
        answers, pulls = [], []
        with torch.enable_grad():
            for part in self.parts():
                logits = span_logits(lm.model, part.batch)
                pulls.append(part.backward(logits, loss))
                answers.append(part.answer(logits))
        return torch.cat(answers), torch.stack(pulls).sum()

    def whole_answer(self, lm: LanguageModel) -> Tensor:
        """The probability of every view's whole span (n,), token after token."""
        return torch.cat([part._whole_answer(lm) for part in self.parts()])

    @torch.no_grad()
    def measure(self, lm: LanguageModel) -> Tensor:
        """p(answer) of every view (n,), from forward passes alone."""
        return torch.cat([part.answer(span_logits(lm.model, part.batch)) for part in self.parts()])

    @torch.no_grad()
    def _whole_answer(self, lm: LanguageModel) -> Tensor:
        logs = torch.log_softmax(span_logits(lm.model, self.batch), dim=-1)
        taken = logs.gather(-1, self.batch.tokens[:, None]).squeeze(-1)  # (S,)
        return torch.zeros(len(self.batch.ids), device=logs.device).index_add_(0, self.batch.rows, taken).exp()

    def _of(self, rows: Tensor) -> "Forgetting":
        """Some of the views, in order."""
        return Forgetting(self.batch.only(rows), self.demoted[self.batch.spans(rows)])


def part(p: Tensor, tokens: Tensor) -> Tensor:
    """What each of several tokens, alike in probability, must lose for their product to fall by ``FALL`` (n,).

    In log-odds, as a share of what a single token of the product's probability must lose: 1 for one token, and never
    less than the share of one.

    Args:
        p: the products (n,).
        tokens: how many tokens each is made of (n,).
    """
    before = p.double().clamp(_TINY, _SURE)
    after, root = before / FALL, 1 / tokens
    lost = torch.logit(before**root) - torch.logit(after**root)
    return (lost / (torch.logit(before) - torch.logit(after))).to(p.dtype)


def backpropagate(lm: LanguageModel, examples: Sequence[Example], loss: Loss) -> None:
    """Backpropagate a loss of examples in one pass; whatever its p(answer), a view weighs as others of its target."""
    batch = collate(examples, lm.pad, lm.device)
    with torch.enable_grad():
        logits = span_logits(lm.model, batch)
        demoted = demoted_mask(examples, logits.shape[-1], lm.device)
        (loss(logits, batch.tokens, demoted) * batch.weights).sum().backward()  # type: ignore[no-untyped-call]
