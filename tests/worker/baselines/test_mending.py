"""Mending brings what must stay back, and nothing of what must go."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from worker.baselines.gradients import ExactGradient, flat
from worker.baselines.task import Task
from worker.r2f import mending
from worker.r2f import path as path_of_r2f
from worker.r2f.adaptation import Adaptation, Update
from worker.r2f.decoder import Decoder, SpectralFilter
from worker.r2f.drift import DriftBatch
from worker.r2f.examples import Example
from worker.r2f.forgetting import Forgetting
from worker.r2f.gradients import visiting
from worker.r2f.linearise import Linearise
from worker.r2f.losses import ascent
from worker.r2f.lowrank import LowRank
from worker.r2f.mending import Kept, Mend, Mender, _lowest
from worker.r2f.path import Path, Step, walk


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
        mender = Mender(task.lm, linearise, task.curvature, task.drift, kept, config, adaptation)
        return mender(update, Forgetting.of(task.lm, task.forget), config.mends, lambda: None)


def _measured(task: Task, update: Update, keep: Sequence[Example]) -> tuple[float, float]:
    kept = Kept.of(task.lm, keep)
    with Adaptation(task.lm.model, task.lm.sites) as adaptation:
        adaptation.use(update)
        return float(kept.measure(task.lm).sum()), float(Forgetting.of(task.lm, task.forget).measure(task.lm).max())


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
    keep = [*task.forget, *task.retain]  # what must go is among what must stay
    _, answer = _measured(task, harmful, keep)
    update, mends = _mended(task, harmful, keep, depth=1e-9)
    _, still = _measured(task, update, keep)
    assert mends
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
        torch.testing.assert_close(apart.measure(task.lm), whole.measure(task.lm), rtol=1e-3, atol=1e-7)
        for kept in (whole, apart):
            total: dict[str, torch.Tensor] = {}

            def visit(site, x, d, total=total):  # type: ignore[no-untyped-def]
                total[site.name] = total.get(site.name, 0) + d.T @ x

            with visiting(task.lm.model, task.lm.sites, visit):
                for part in kept.parts:
                    kept.backward(task.lm, part)
            sums.append(total)
    for name, gradient in sums[0].items():
        torch.testing.assert_close(gradient, sums[1][name], rtol=1e-3, atol=1e-6)


def _rows(part: DriftBatch) -> list[list[int]]:
    """The tokens of every reply, without padding."""
    batch = part.batch
    return [ids[mask[len(batch.prefix) :].bool()].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)]


def test_the_replies_that_were_harmed_tell_where_to_go(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [task.retain[n % len(task.retain)] for n in range(5)]
    for room in (2048, 20):  # in one pass, and in several
        monkeypatch.setattr(mending, "AT_ONCE", room)
        kept = Kept.of(task.lm, replies)
        asked = [row for part in kept.parts for row in _rows(part)]
        shares = torch.tensor([0.02, 0.5, 0.03, 0.41, 0.04])
        most = kept.most(shares)
        assert most.positions == kept.positions
        assert [row for part in most.parts for row in _rows(part)] == [asked[1], asked[3]]
        with Adaptation(task.lm.model, task.lm.sites):
            assert float(most.measure(task.lm).abs().sum()) < 1e-5  # their references went with them
        assert len(torch.cat([part.batch.ids[:, 0] for part in kept.most(torch.zeros(5)).parts])) == 1
        assert len(torch.cat([part.batch.ids[:, 0] for part in kept.most(torch.ones(5)).parts])) == 5


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
    halves = torch.tensor([0.25, 0.75])
    step, after = _lowest(lambda step: cost(step) * halves, halves, slope)
    assert step == pytest.approx(best)
    assert float(after.sum()) == pytest.approx(cost(step))


def test_a_way_that_does_not_fall_is_not_taken() -> None:
    assert _lowest(lambda step: torch.zeros(1), torch.ones(1), 0.0) == (0.0, torch.ones(1))


def test_each_view_is_guarded_for_itself(task: Task, harmful: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    """A way that undoes the whole update is refused; and a view that lags does not hide another that comes back."""

    def back(self: Mender, harmed: Kept, views: Forgetting) -> tuple[Update, Update]:
        return {name: part.scaled(-1) for name, part in harmful.items()}, harmful

    monkeypatch.setattr(Mender, "_direction", back)
    monkeypatch.setattr(mending, "_lowest", lambda measure, before, slope: (1.0, torch.zeros(1)))
    assert _mended(task, harmful, task.retain, depth=1e-4) == (harmful, ())
    assert _mended(task, harmful, task.retain, depth=1.0)[1]
    assert not _mended(task, harmful, task.retain, depth=1.0, kl_budget=-1.0)[1]
    for after, mends in (([0.2, 0.94], 0), ([0.001, 1.2], 0), ([0.001, 0.94], 1)):
        told = [torch.tensor([0.001, 0.97]), torch.tensor(after)]
        monkeypatch.setattr(Forgetting, "measure", lambda self, lm, told=told: told.pop(0))
        assert len(_mended(task, harmful, task.retain, depth=1e-4, mends=1)[1]) == mends


def test_the_way_of_a_mend_leaves_the_answer_where_it_is(task: Task, harmful: Update) -> None:
    views, linearise = Forgetting.of(task.lm, task.forget), ExactGradient(task.lm)
    with Adaptation(task.lm.model, task.lm.sites) as adaptation:
        kept = Kept.of(task.lm, task.retain)
        mender = Mender(task.lm, linearise, task.curvature, task.drift, kept, task.config, adaptation)
        adaptation.use(harmful)
        harm, direction = mender._direction(kept, views)
        answer = linearise.gradient("answer", [lambda: views.differentiate(task.lm, ascent)])
    along = sum(part.inner(direction[name]) for name, part in answer.items())
    size = sum(part.inner(part) for part in answer.values()) * sum(part.inner(part) for part in direction.values())
    assert abs(along) < 1e-3 * size**0.5
    assert sum(part.inner(direction[name]) for name, part in harm.items()) > 0


def _walked(task: Task, monkeypatch: pytest.MonkeyPatch, left: list[float | None], leaks: list[list[Example]]) -> Path:
    """A path whose rounds leave this much of the answer, or fail, and whose mends scale the update by ten."""
    done: list[str] = []

    def advance(self: object, update: Update, views: Forgetting) -> tuple[Update, Step] | None:
        now = left.pop(0)
        done.append("stuck" if now is None else "round")
        return (
            None if now is None else ({"site": LowRank(torch.ones(1, 1), torch.ones(1, 1))}, Step(1, now, now, 0, 1, 0))
        )

    def mend(
        self: object, update: Update, views: Forgetting, most: int, between: Callable[[], None]
    ) -> tuple[Update, tuple[Mend, ...]]:
        between()
        assert most == task.config.mends - sum(step == "mend" for step in done)
        done.append("mend")
        return {name: part.scaled(10) for name, part in update.items()}, (Mend(1.0, 0.5, 0.0),)

    def asked() -> list[Example]:
        done.append(f"leaks at {float(used[-1]['site'].left[0, 0]):g}")
        return leaks.pop(0)

    used: list[Update] = []
    monkeypatch.setattr(Adaptation, "use", lambda self, update: used.append(update))
    monkeypatch.setattr(path_of_r2f.Walker, "advance", advance)
    monkeypatch.setattr(Mender, "__call__", mend)
    kept, config = Kept.of(task.lm, task.retain), replace(task.config, max_rounds=3)
    path = walk(
        task.lm,
        ExactGradient(task.lm),
        task.curvature,
        task.drift,
        kept,
        task.forget,
        asked,
        config,
        lambda share: None,
    )
    assert not left
    return replace(path, update={"order": done, "left": float(path.update["site"].left[0, 0])})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("left", "leaks", "order"),
    [
        ([1.0, 0.0], 1, ["round", "round", "mend", "leaks at 10"]),
        ([1.0, None, 0.0], 1, ["round", "stuck", "mend", "round", "mend", "leaks at 10"]),
        ([1.0, None, None], 0, ["round", "stuck", "mend", "stuck"]),
        ([1.0, 1.0, 1.0], 0, ["round", "round", "round", "mend"]),
    ],
)
def test_a_path_is_mended_at_its_end_and_where_its_budget_is_spent(
    task: Task, monkeypatch: pytest.MonkeyPatch, left: list[float | None], leaks: int, order: list[str]
) -> None:
    path = _walked(task, monkeypatch, [*left], [[]] * leaks)
    assert path.update == {"order": order, "left": 10.0}
    assert len(path.mends) == order.count("mend")


def test_what_leaks_joins_once_however_the_path_goes_on(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _walked(task, monkeypatch, [0.0, None, None], [[*task.forget[:1]]])
    assert len(path.examples) == len(task.forget) + 1
