"""Mending brings what must stay back, and nothing of what must go."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from worker.baselines.gradients import ExactGradient, flat
from worker.baselines.task import Task
from worker.r2f import mending
from worker.r2f import path as path_of_r2f
from worker.r2f.adaptation import Adaptation, Update, plus
from worker.r2f.decoder import Decoder, SpectralFilter
from worker.r2f.examples import Example
from worker.r2f.forgetting import Forgetting
from worker.r2f.gradients import visiting
from worker.r2f.linearise import Linearise
from worker.r2f.mending import Kept, Mend, Mender, _lowest
from worker.r2f.path import Step, walk


@pytest.fixture(scope="module")
def harmful(task: Task) -> Update:
    """An update that forgets without a thought for what must stay."""
    views, curvature = Forgetting.of(task.lm, task.forget), flat(task.curvature)
    with Adaptation(task.lm.model, task.lm.sites) as adaptation:
        walker = path_of_r2f.Walker(
            task.lm, ExactGradient(task.lm), curvature, task.drift, replace(task.config, kl_budget=1e9), adaptation
        )
        taken = walker.advance({}, views)
    assert taken is not None
    return taken[0]


def _mended(
    task: Task, update: Update, keep: Sequence[Example], *, sketched: bool = False, **settings: float
) -> tuple[Update, tuple[Mend, ...]]:
    kept = Kept.of(task.lm, keep)
    config = replace(task.config, **settings)  # type: ignore[arg-type]
    linearise = Linearise(task.lm, Decoder(SpectralFilter()), config) if sketched else ExactGradient(task.lm)
    with Adaptation(task.lm.model, task.lm.sites) as adaptation:
        mender = Mender(task.lm, linearise, task.curvature, kept, config, adaptation)
        return mender(update, Forgetting.of(task.lm, task.forget))


def _measured(task: Task, update: Update, keep: Sequence[Example]) -> tuple[float, float]:
    kept = Kept.of(task.lm, keep)
    with Adaptation(task.lm.model, task.lm.sites) as adaptation:
        adaptation.use(update)
        return kept.measure(task.lm), float(Forgetting.of(task.lm, task.forget).measure(task.lm).max())


@pytest.mark.parametrize("sketched", [False, True])
def test_what_must_stay_comes_back_and_what_must_go_does_not(task: Task, harmful: Update, sketched: bool) -> None:
    before, answer = _measured(task, harmful, task.retain)
    update, mends = _mended(task, harmful, task.retain, sketched=sketched, depth=1e-9)
    after, still = _measured(task, update, task.retain)
    assert mends
    assert [mend.kl_before for mend in mends[1:]] == pytest.approx([mend.kl_after for mend in mends[:-1]], rel=1e-3)
    assert (mends[0].kl_before, mends[-1].kl_after) == pytest.approx((before, after), rel=1e-3)
    assert after <= 0.8 * before
    assert still <= answer * 1.1 ** len(mends)
    assert mends[-1].answer_max == pytest.approx(still, rel=1e-3)


def test_no_mend_brings_an_answer_back_however_much_it_would_help(task: Task, harmful: Update) -> None:
    _, answer = _measured(task, harmful, task.forget)
    update, mends = _mended(task, harmful, task.forget, depth=1e-9)  # what must stay is what must go
    _, still = _measured(task, update, task.forget)
    assert still <= answer * 1.1 ** len(mends)


def test_where_nothing_is_harmed_nothing_is_done(task: Task, harmful: Update) -> None:
    for update, settings in (({}, {}), (harmful, {"mends": 0}), (harmful, {"mend_from": 1e9})):
        same, mends = _mended(task, update, task.retain, **settings)  # type: ignore[arg-type]
        assert same is update
        assert mends == ()


def test_what_must_stay_is_one_however_many_passes_it_takes(
    task: Task, harmful: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Kept.of(task.lm, task.retain)
    monkeypatch.setattr(mending, "AT_ONCE", 20)
    apart = Kept.of(task.lm, task.retain)
    assert len(whole.parts) == 1
    assert len(apart.parts) > 2
    assert whole.positions == apart.positions
    sums = []
    with Adaptation(task.lm.model, task.lm.sites) as adaptation:
        adaptation.use(harmful)
        assert apart.measure(task.lm) == pytest.approx(whole.measure(task.lm), rel=1e-4)
        for kept in (whole, apart):
            total: dict[str, torch.Tensor] = {}

            def visit(site, x, d, total=total):  # type: ignore[no-untyped-def]
                total[site.name] = total.get(site.name, 0) + d.T @ x

            with visiting(task.lm.model, task.lm.sites, visit):
                kept.backward(task.lm)
            sums.append(total)
    for name, gradient in sums[0].items():
        torch.testing.assert_close(gradient, sums[1][name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("cost", "slope", "best"),
    [
        (lambda s: 1 - 2 * s + 1.5 * s * s, 2.0, 0.4),  # near the lowest point, and not tried again
        (lambda s: 1 - 2 * s + 10 * s * s, 2.0, 0.1),
        (lambda s: 1 - 2 * s + 100 * s * s, 2.0, 0.05),  # no shorter than an eighth of the first
        (lambda s: 1 - 2 * s, 2.0, 0.4),  # no longer than the first
        (lambda s: 1.2 if s == 0.4 else 1.5, 2.0, 0.4),  # the first, where nothing better is found
    ],
)
def test_a_step_goes_to_the_lowest_point_of_a_parabola(cost, slope: float, best: float) -> None:  # type: ignore[no-untyped-def]
    step, after = _lowest(cost, 1.0, slope)
    assert step == pytest.approx(best)
    assert after == cost(step)


def test_a_way_that_does_not_fall_is_not_taken() -> None:
    assert _lowest(lambda step: 0.0, 1.0, 0.0) == (0.0, 1.0)


def test_a_path_whose_budget_is_spent_goes_on_where_mending_frees_some(
    task: Task, harmful: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    deep = Step(1.0, 0.0, 0.0, 0.0, 1, 0.0)

    def advance(self: object, update: Update, views: Forgetting) -> tuple[Update, Step] | None:
        done.append("round")
        return (
            None
            if done.count("mend") == 0 and len(done) > 1
            else (plus(update, harmful, 1.0), replace(deep, answer_max=1.0))
        )

    def mend(self: object, update: Update, views: Forgetting) -> tuple[Update, tuple[Mend, ...]]:
        done.append("mend")
        return update, (Mend(1.0, 0.5, 0.0),)

    monkeypatch.setattr(path_of_r2f.Walker, "advance", advance)
    monkeypatch.setattr(Mender, "__call__", mend)
    kept, config = Kept.of(task.lm, task.retain), replace(task.config, max_rounds=3)
    path = walk(
        task.lm, ExactGradient(task.lm), task.curvature, task.drift, kept, task.forget, list, config, lambda share: None
    )
    assert done == ["round", "round", "mend", "round", "round", "mend"]
    assert (len(path.steps), len(path.mends)) == (3, 2)
