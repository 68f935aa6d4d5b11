"""A relearning attack brings back what it trains on; training on other facts is the control beside it."""

from collections.abc import Callable

import pytest
import torch

from app.methods import Method
from worker.baselines.catalogue import BASELINES
from worker.baselines.task import Task, Unlearned
from worker.r2f import relearning
from worker.r2f.adaptation import Adaptation, Update
from worker.r2f.examples import Batch, Example
from worker.r2f.relearning import Attack, relearn


def _answer(task: Task, update: Update, held_out: Callable[[], float]) -> float:
    with Adaptation(task.lm.model, task.lm.sites) as adaptation:
        adaptation.use(update)
        return held_out()


def test_training_on_the_target_brings_it_back_and_on_others_less(task: Task, held_out: Callable[[], float]) -> None:
    done = BASELINES[Method.FULL_GRADIENT](task)
    assert isinstance(done, Unlearned)
    attack = Attack(rate=2e-2, steps=30)
    forgotten = _answer(task, done.update, held_out)
    attacked = _answer(task, relearn(task.lm, done.update, task.forget, attack), held_out)
    benign = _answer(task, relearn(task.lm, done.update, task.retain, attack), held_out)
    assert forgotten < 0.1
    assert attacked > 0.5
    assert benign < attacked


def test_an_attack_is_fixed_by_its_seed_and_starts_from_the_update(task: Task) -> None:
    start = {
        site.name: part
        for site, part in zip(task.lm.sites, relearn(task.lm, {}, task.forget, Attack(steps=1)).values(), strict=True)
    }
    none = relearn(task.lm, start, task.forget, Attack(steps=0))
    for name, part in start.items():
        torch.testing.assert_close(none[name].left @ none[name].right, part.left @ part.right)
    once, again = (relearn(task.lm, start, task.forget, Attack(steps=2)) for _ in range(2))
    assert all(torch.equal(part.left, again[name].left) for name, part in once.items())


def test_an_attack_takes_its_examples_in_turn(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    three = task.retain[:3]
    real = relearning.collate

    def spying(examples: list[Example], *more: object) -> Batch:
        seen.append([three.index(example) for example in examples])
        return real(examples, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(relearning, "collate", spying)
    relearn(task.lm, {}, three, Attack(steps=3, chunk=2))
    assert seen == [[0, 1], [2, 0], [1, 2]]
