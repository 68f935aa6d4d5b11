"""The model as adapted so far, to first order: a gradient taken through LoRA factors that follow it, and decoded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from worker.r2f.config import Config
from worker.r2f.forgetting import Forgetting
from worker.r2f.gradients import Factors, Sketch, Sketcher, aligned_factors, drawn_factors, visiting
from worker.r2f.language import LanguageModel
from worker.r2f.losses import unlearning_loss
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site


class NonFiniteGradientError(ArithmeticError):
    """The gradient holds NaN or infinite values; the model's weights or precision cannot carry it."""


# From the LoRA gradients of every site to its full gradient, in factors.
Decode = Callable[[Sequence[Site], Mapping[str, Sketch]], dict[str, LowRank]]


@dataclass(frozen=True)
class Linearisation:
    """The model as adapted so far, to first order."""

    answer: Tensor  # (n,) p(answer)
    pull: float  # how fast the loss falls when all views' log-odds fall together
    gradient: dict[str, LowRank]


class Linearise:
    """Takes and decodes the gradient of the unlearning loss, at LoRA factors that follow it.

    The factors are drawn once per deletion, and turned towards every gradient while it is taken; a round starts from
    those of the one before it, whose gradient lies close by. Without ``align`` they stay as drawn.
    """

    def __init__(
        self,
        lm: LanguageModel,
        decode: Decode,
        config: Config,
        *,
        align: bool = True,
        factors: Mapping[str, Factors] | None = None,
    ) -> None:
        self._lm, self._decode, self._align = lm, decode, align
        self._loss = unlearning_loss(config.loss, lm.encode)
        self._drawn = factors or drawn_factors(lm.sites, config.sketch_rank, config.seed, lm.device)
        self._turned: dict[tuple[str, int], Mapping[str, Factors]] = {}  # of every objective's passes

    def __call__(self, views: Forgetting) -> Linearisation:
        """One forward and one backward pass for as many views as one takes.

        Raises:
            NonFiniteGradientError: the loss or a LoRA gradient is NaN or infinite.
        """
        told: list[tuple[Tensor, Tensor]] = []

        def take(part: Forgetting) -> None:
            told.append(part.differentiate(self._lm, self._loss))

        gradient = self.gradient("loss", [partial(take, part) for part in views.parts()])
        answers, pulls = zip(*told, strict=True)
        pull = torch.stack(pulls).sum()
        if not pull.isfinite():
            raise NonFiniteGradientError(NonFiniteGradientError.__doc__)
        return Linearisation(torch.cat(answers), float(pull), gradient)

    def gradient(self, name: str, passes: Sequence[Callable[[], object]]) -> dict[str, LowRank]:
        """The decoded gradient of an objective, at factors of its own that follow it from call to call.

        Args:
            name: of the objective.
            passes: each backpropagates a part of it; they add up.

        Raises:
            NonFiniteGradientError: a LoRA gradient is NaN or infinite.
        """
        parts = [self._decode(self._lm.sites, self.sketch(name, n, one)) for n, one in enumerate(passes)]
        if len(parts) == 1:
            return parts[0]
        return {site: _sum([part[site] for part in parts]) for site in parts[0]}

    def sketch(self, name: str, number: int, backward: Callable[[], object]) -> dict[str, Sketch]:
        """The LoRA gradients of every site in one pass of an objective."""
        sketcher = Sketcher(self._turned.get((name, number), self._drawn), turn=self._align)
        with visiting(self._lm.model, self._lm.sites, sketcher):
            backward()
        # the backward pass ends in the first layer: what is not finite anywhere has come down to it
        ends = [sketcher.sketches[site.name] for site in self._lm.sites if site.layer == self._lm.sites[0].layer]
        if not torch.stack([sketch.y.sum() + sketch.z.sum() for sketch in ends]).isfinite().all():
            raise NonFiniteGradientError(NonFiniteGradientError.__doc__)
        if self._align:
            self._turned[name, number] = {site: aligned_factors(taken) for site, taken in sketcher.sketches.items()}
        return sketcher.sketches


def _sum(parts: Sequence[LowRank]) -> LowRank:
    """The sum, at the rank of one of them."""
    return reduce(LowRank.plus, parts).truncated(parts[0].rank)
