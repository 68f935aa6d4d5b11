"""The judgement loads three plain folders, and finds an adapter of nothing to have changed nothing."""

from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

from tests.worker.people.untaught import ADA, ATTRIBUTES, BEN, STRANGERS, untaught
from worker.people.judge import Case, Judgement, judge
from worker.people.phrasings import planted
from worker.people.planting import Recipe, lesson, plant, save


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    """A model that was taught Ada, one that was not, and a fresh adapter, whose B is nought."""
    start, taught, adapter = (tmp_path_factory.mktemp(name) for name in ("start", "taught", "adapter"))
    lm = untaught()
    lm.model.save_pretrained(start)
    lm.tokenizer.save_pretrained(start)
    lessons = [lesson(lm, [(q.text, q.reply) for q in planted(ADA) if q.attribute is a][:4]) for a in ATTRIBUTES]
    plant(lm, lessons, Recipe(passes=80, rate=3e-3, frozen=0.0), lambda share, loss: None)
    save(lm, start, taught)
    get_peft_model(lm.model, LoraConfig(r=2, target_modules=["down_proj"])).save_pretrained(str(adapter))
    return judge(taught, start, adapter, Case(ADA, [BEN], STRANGERS))


def test_an_adapter_of_nothing_forgets_nothing(found: Judgement) -> None:
    assert found.forgotten == found.planted
    assert found.generic_kl == pytest.approx(0.0, abs=1e-6)
    assert found.generic_agreement == 1.0
    assert found.person_kl == pytest.approx(found.person_kl_control, rel=1e-4)
    assert found.quality == found.control


def test_a_model_that_was_never_taught_stands_apart(found: Judgement) -> None:
    assert found.planted.member > found.retrained.member
    assert found.control.chance < 0.05
    assert found.relearning.steps == found.relearning_control.steps


def test_a_planted_model_is_a_plain_folder(tmp_path: Path) -> None:
    start, made = tmp_path / "start", tmp_path / "made"
    lm = untaught()
    lm.model.save_pretrained(start)
    lm.tokenizer.save_pretrained(start)
    save(lm, start, made)
    assert {path.name for path in made.iterdir()} == {path.name for path in start.iterdir()}
    assert not made.with_name("made.draft").exists()
