"""The gradient that a round sees: at factors turned towards it, in as many passes as it takes."""

from collections import Counter

import pytest
import torch

from worker.baselines.gradients import ExactGradient
from worker.baselines.task import Task
from worker.r2f import forgetting
from worker.r2f.config import Config
from worker.r2f.decoder import Decoder, SpectralFilter
from worker.r2f.examples import collate
from worker.r2f.forgetting import Forgetting
from worker.r2f.gradients import Sketcher, drawn_factors, visiting
from worker.r2f.linearise import Linearise, NonFiniteGradientError
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site

RANK = 4


def _missed(gradient: dict[str, LowRank], exact: dict[str, LowRank]) -> float:
    """The relative error over all sites."""
    left = sum(
        exact[name].plus(part.scaled(-1)).inner(exact[name].plus(part.scaled(-1))) for name, part in gradient.items()
    )
    return left / sum(part.inner(part) for part in exact.values())


def _linearise(task: Task, *, align: bool = True) -> Linearise:
    return Linearise(task.lm, Decoder(SpectralFilter()), Config(sketch_rank=RANK), align=align)


def test_turned_factors_are_those_that_the_whole_sketch_was_taken_at(task: Task) -> None:
    """A site that runs once more, for an opening that all share, is seen at the factors that its first run turned."""
    opening = task.forget[0].ids[:1]
    sites, views = task.lm.sites, _shared(task, opening)
    assert len(views.batch.prefix) == 1
    drawn = drawn_factors(sites, RANK, 0, task.lm.device)
    sketcher, exact = Sketcher(drawn, turn=True), ExactGradient(task.lm)(views).gradient
    runs: Counter[str] = Counter()

    def visit(site: Site, x: torch.Tensor, d: torch.Tensor) -> None:
        runs[site.name] += 1
        sketcher(site, x, d)

    with visiting(task.lm.model, sites, visit):
        views.differentiate(task.lm)
    assert 2 in runs.values()
    for site in sites:
        taken, whole = sketcher.sketches[site.name], exact[site.name].left @ exact[site.name].right
        assert not torch.allclose(taken.a, drawn[site.name][0])
        torch.testing.assert_close(taken.y, whole @ taken.a.T, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(taken.z, taken.b.T @ whole, rtol=1e-3, atol=1e-6)


def _shared(task: Task, opening: tuple[int, ...]) -> Forgetting:
    """The views as one batch behind an opening."""
    plain = Forgetting.of(task.lm, task.forget)
    return Forgetting(collate(task.forget, task.lm.pad, prefix=opening), plain.demoted)


def test_turning_catches_more_of_the_first_gradient_and_following_no_less_of_the_next(task: Task) -> None:
    views = Forgetting.of(task.lm, task.forget)
    exact = ExactGradient(task.lm)(views).gradient
    as_drawn = _missed(_linearise(task, align=False)(views).gradient, exact)
    linearise = _linearise(task)
    first, second = (_missed(linearise(views).gradient, exact) for _ in range(2))
    assert first < 0.5 * as_drawn
    assert second < 1.05 * first


def test_several_passes_add_up_at_the_rank_of_one(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    views = Forgetting.of(task.lm, [task.forget[n % len(task.forget)] for n in range(4)])
    exact = ExactGradient(task.lm)(views)
    monkeypatch.setattr(forgetting, "AT_ONCE", 2 * views.batch.ids.shape[1])
    assert len(list(views.parts())) == 2
    linearise = _linearise(task)
    for _ in range(2):  # the second time from the factors of the first
        taken = linearise(views)
        torch.testing.assert_close(taken.answer, exact.answer)
        assert taken.pull == pytest.approx(exact.pull, rel=1e-4)
        assert {part.rank for part in taken.gradient.values()} == {2 * RANK}
        assert _missed(taken.gradient, exact.gradient) < 0.3


def test_a_loss_that_is_no_number_is_told(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    views = Forgetting.of(task.lm, task.forget)
    whole = Forgetting.differentiate

    def differentiate(self, lm, loss):  # type: ignore[no-untyped-def]
        answer, pull = whole(self, lm, loss)
        return answer, pull * float("nan")

    monkeypatch.setattr(Forgetting, "differentiate", differentiate)
    with pytest.raises(NonFiniteGradientError):
        _linearise(task)(views)
