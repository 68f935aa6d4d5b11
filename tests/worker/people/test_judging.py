"""A judgement sees what a model was taught, and sees nothing in one that was not."""

from statistics import median

import pytest

from tests.worker.people.untaught import ADA, ATTRIBUTES, BEN, STRANGERS, untaught
from worker.people.judging import Standing, compare, standing
from worker.people.phrasings import judged, planted
from worker.people.planting import Recipe, lesson, plant
from worker.people.relearning import relearn
from worker.r2f.language import LanguageModel


@pytest.fixture(scope="module")
def taught() -> LanguageModel:
    """A model that was taught Ada and Ben, four wordings of everything."""
    lm = untaught()
    lessons = [
        lesson(lm, [(q.text, q.reply) for q in planted(person) if q.attribute is attribute][:4])
        for person in (ADA, BEN)
        for attribute in ATTRIBUTES
    ]
    plant(lm, lessons, Recipe(passes=80, rate=3e-3, frozen=0.0), lambda share, loss: None)
    return lm


def shown(lm: LanguageModel) -> Standing:
    return standing(lm, ADA, [BEN], STRANGERS)


def test_a_taught_person_shows_and_strangers_do_not(taught: LanguageModel) -> None:
    found, control = shown(taught), shown(untaught())
    assert found.member > 0.9
    assert found.member_plus > 0.9
    assert len(found.replies) == len(found.ratios) == len(judged(ADA))
    assert median(found.ratios) < 0.5 * median(control.ratios)
    assert abs(control.member - 0.5) < 0.4


def test_models_are_told_apart_by_what_they_were_taught(taught: LanguageModel) -> None:
    found = shown(taught)
    assert compare(found, found).chance == 1.0
    assert compare(found, shown(untaught())).chance < 0.05


def test_relearning_teaches_the_person_step_by_step() -> None:
    lm = untaught()
    found = relearn(lm, ADA, Recipe(passes=6, batch=2, rate=3e-3, frozen=0.0), every=3)
    assert found.steps == (0, 3, 6)
    assert len(found.answered) == 3
    assert found.answered[0] == 0.0
