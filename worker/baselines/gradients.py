"""Updates along gradients, by the same path as R2F: the same loss, rounds, depth, search and preconditioner.

FullGrad and the LoRA-gradient updates of the paper (appendix B) differ from R2F in the gradient alone, so they are the
same walk with another linearisation. That makes the comparison one of gradients, not of step sizes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.baselines.task import Task, Unlearned
from worker.r2f.curvature import Curvature, Moment
from worker.r2f.examples import Example
from worker.r2f.forgetting import Forgetting
from worker.r2f.gradients import visiting
from worker.r2f.language import LanguageModel
from worker.r2f.linearise import FirstOrder, Linearisation, NonFiniteGradientError
from worker.r2f.lowrank import LowRank
from worker.r2f.path import walk as path_of_r2f
from worker.r2f.sites import Site


class ExactGradient:
    """G = DᵀX of every site, exactly: kept as the factors D and X where those are smaller than G.

    With a rank, only the best approximation of that rank is kept.
    """

    def __init__(self, lm: LanguageModel, rank: int | None = None) -> None:
        self._lm, self._rank = lm, rank

    def __call__(self, views: Forgetting) -> Linearisation:
        """The model as adapted so far, to first order."""
        gradient: dict[str, LowRank] = {}

        def visit(site: Site, x: Tensor, d: Tensor) -> None:
            some = d.abs().amax(1) > 0  # padding adds nothing
            fresh, known = LowRank(d[some].T, x[some]), gradient.get(site.name)
            gradient[site.name] = known.plus(fresh) if known else fresh.collapsed()  # a shared opening comes apart

        with visiting(self._lm.model, self._lm.sites, visit):
            answer, pull = views.differentiate(self._lm)
        if not pull.isfinite() or not all(
            part.left.isfinite().all() and part.right.isfinite().all() for part in gradient.values()
        ):
            raise NonFiniteGradientError(NonFiniteGradientError.__doc__)
        held = {name: part.truncated(self._rank) if self._rank else part for name, part in gradient.items()}
        return Linearisation(answer, float(pull), held)


def flat(curvature: Curvature) -> Curvature:
    """No curvature: every moment the identity, so that preconditioning only scales."""

    def plain(moment: Moment) -> Moment:
        return Moment(torch.zeros_like(moment.u[:, :1]), torch.ones_like(moment.rest))

    return Curvature(
        {name: plain(moment) for name, moment in curvature.inputs.items()},
        {name: plain(moment) for name, moment in curvature.outputs.items()},
    )


def walk(task: Task, linearise: FirstOrder, examples: Sequence[Example], *, joining: bool = True) -> Unlearned:
    """The path of R2F along another gradient.

    Args:
        joining: views whose reply still leaks join in, as they do for R2F.
    """
    lm = task.lm
    path = path_of_r2f(
        lm,
        linearise,
        task.curvature,
        task.drift,
        examples,
        task.leaks if joining else list,
        task.config,
        task.progress,
    )
    # an update without a step is none at all: the caller sees that no step was taken
    update = {site.name: path.update[site.name] for site in lm.sites} if path.steps else {}
    return Unlearned(update, path.steps)
