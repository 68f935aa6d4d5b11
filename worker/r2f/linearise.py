"""The model as adapted so far, to first order: a gradient taken through LoRA factors that follow it, and decoded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.r2f.config import Config
from worker.r2f.forgetting import Forgetting
from worker.r2f.gradients import Factors, Sketch, Sketcher, aligned_factors, drawn_factors, visiting
from worker.r2f.language import LanguageModel
from worker.r2f.losses import unlearning_loss
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site

SCOUTS = 2  # views that tell the first round where to look


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


@dataclass(frozen=True)
class Sketched:
    """What one forward and one backward pass tell."""

    answer: Tensor  # (n,) p(answer)
    pull: Tensor  # see Forgetting.backward
    sketches: dict[str, Sketch]


class Linearise:
    """Takes and decodes the gradient of the unlearning loss, at LoRA factors that follow it.

    The factors are drawn once per deletion and turned towards the gradient of a few views; after that, each round turns
    them for the next, whose gradient lies close by. Without ``align`` they stay as drawn.
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
        self._factors = factors or drawn_factors(lm.sites, config.sketch_rank, config.seed, lm.device)
        self._aligned = False
        self._drawn = self._factors
        self._beside: dict[str, Mapping[str, Factors]] = {}  # of other objectives

    def __call__(self, views: Forgetting) -> Linearisation:
        """One forward and one backward pass; in the first round another one over a few views.

        Raises:
            NonFiniteGradientError: the loss or a LoRA gradient is NaN or infinite.
        """
        if self._align and not self._aligned:
            self.follow(self.sketch(views.few(SCOUTS)).sketches)
            self._aligned = True
        taken = self.sketch(views)
        if self._align:
            self.follow(taken.sketches)
        return Linearisation(taken.answer, float(taken.pull), self._decode(self._lm.sites, taken.sketches))

    def gradient(
        self, name: str, backward: Callable[[], object], scout: Callable[[], object] | None = None
    ) -> dict[str, LowRank]:
        """The decoded gradient of another objective, at factors of its own that follow it from call to call.

        Args:
            name: of the objective.
            backward: backpropagates it.
            scout: backpropagates a part of it, which tells the first call where to look; all of it if absent.

        Raises:
            NonFiniteGradientError: a LoRA gradient is NaN or infinite.
        """
        if self._align and name not in self._beside:
            self._beside[name] = _aligned(self._visit(scout or backward, self._drawn))
        taken = self._visit(backward, self._beside.get(name, self._drawn))
        if self._align:
            self._beside[name] = _aligned(taken)
        return self._decode(self._lm.sites, taken)

    def sketch(self, views: Forgetting) -> Sketched:
        """The LoRA gradients of every site at the present factors."""
        told: list[tuple[Tensor, Tensor]] = []
        sketches = self._visit(lambda: told.append(views.differentiate(self._lm, self._loss)), self._factors)
        answer, pull = told[0]
        if not pull.isfinite():
            raise NonFiniteGradientError(NonFiniteGradientError.__doc__)
        return Sketched(answer, pull, sketches)

    def follow(self, sketches: Mapping[str, Sketch]) -> None:
        """Turn the factors towards the gradient that these sketches have seen."""
        self._factors = _aligned(sketches)

    def _visit(self, backward: Callable[[], object], factors: Mapping[str, Factors]) -> dict[str, Sketch]:
        sketcher = Sketcher(factors)
        with visiting(self._lm.model, self._lm.sites, sketcher):
            backward()
        # the backward pass ends in the first layer: what is not finite anywhere has come down to it
        ends = [sketcher.sketches[site.name] for site in self._lm.sites if site.layer == self._lm.sites[0].layer]
        if not torch.stack([sketch.y.sum() + sketch.z.sum() for sketch in ends]).isfinite().all():
            raise NonFiniteGradientError(NonFiniteGradientError.__doc__)
        return sketcher.sketches


def _aligned(sketches: Mapping[str, Sketch]) -> dict[str, Factors]:
    return {name: aligned_factors(sketch) for name, sketch in sketches.items()}
