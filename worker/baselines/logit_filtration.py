"""Linear filtration of logits (Baumhauer et al., arXiv 2002.02730), which the R2F paper cites under SCRUB's name.

A linear map on the logits, fixed after the fact, sends what the model says of the forgotten to what it would say
without it. For a vocabulary of tens of thousands the map is the least change that does so: with a the mean logits at
forgotten positions over those at kept ones, and b the same with the answer's tokens down to the others' mean,
z ↦ z + (b − a) aᵀ(z − m) / ‖a‖², m the kept mean. It is no update of a linear weight: an intervention at the head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worker.baselines.sequences import kept_chunks
from worker.baselines.task import Intervention, Task
from worker.r2f.forgetting import Forgetting
from worker.r2f.forward import span_logits


@dataclass(frozen=True)
class Filter:
    """z ↦ z + change · ⟨probe, z − centre⟩."""

    centre: Tensor  # m (V,)
    probe: Tensor  # a / ‖a‖² (V,)
    change: Tensor  # b − a (V,), zero but at the answer's tokens

    def __call__(self, logits: Tensor) -> Tensor:
        seen = (logits.float() - self.centre) @ self.probe  # (…)
        return (logits.float() + seen[..., None] * self.change).to(logits.dtype)


def filter_of(forgotten: Tensor, kept: Tensor, demoted: Tensor, strength: float) -> Filter:
    """The filter from logits at forgotten (F × V) and kept (K × V) positions; ``demoted`` is the answer's mask (V,)."""
    centre = kept.mean(0)
    a = forgotten.mean(0) - centre
    change = torch.where(demoted, strength * (a[~demoted].mean() - a), torch.zeros_like(a))
    return Filter(centre, a / a.square().sum(), change)


@dataclass(frozen=True)
class LogitFiltration:
    """Settings."""

    strength: float = 2.0  # 1 takes the answer to the others' mean

    def __call__(self, task: Task) -> Intervention:
        lm, views = task.lm, Forgetting.of(task.lm, task.forget)
        told = views.batch.telling
        with torch.no_grad():
            # log-probabilities: logits less a constant a row, which a filter must not see
            forgotten = span_logits(lm.model, views.batch)[told].log_softmax(-1)
        kept = torch.cat([chunk.reference for chunk in kept_chunks(task)])
        made = filter_of(forgotten, kept, views.demoted[told].any(0), self.strength)
        head: nn.Module = lm.model.get_output_embeddings()  # type: ignore[no-untyped-call]

        @contextmanager
        def intervene() -> Iterator[None]:
            handle = head.register_forward_hook(lambda _module, _inputs, logits: made(logits.log_softmax(-1)))
            try:
                yield
            finally:
                handle.remove()

        return intervene
