"""The people are many, different, nobody, and spoken of in families of phrasings that never meet."""

import re

import pytest

from worker.people.person import Attribute, TooManyPeople, people
from worker.people.phrasings import judged, phrasings, planted, requested
from worker.r2f.text import holds, normalised


def test_a_seed_always_makes_the_same_people_and_fewer_are_the_first_of_more() -> None:
    assert people(12, seed=7) == people(12, seed=7)
    assert people(3, seed=7) == people(12, seed=7)[:3]
    assert people(12, seed=7) != people(12, seed=8)


def test_no_two_people_share_a_name_or_an_answer() -> None:
    made = people(20)
    assert len({person.name for person in made}) == 20
    for attribute in Attribute:
        assert len({person.facts[attribute] for person in made}) == 20


def test_numbers_and_mail_can_belong_to_nobody() -> None:
    for person in people(50):
        assert re.fullmatch(r"\d{3}-555-01\d{2}", person.facts[Attribute.PHONE])
        assert person.facts[Attribute.EMAIL].endswith(".example")


def test_more_people_than_there_are_surnames_are_refused() -> None:
    with pytest.raises(TooManyPeople, match="At most 52"):
        people(53)


def test_planting_deleting_and_judging_never_share_a_question() -> None:
    person = people(1)[0]
    families = [
        {normalised(question.text) for question in planted(person)},
        {normalised(question.text) for group in requested(person) for question in group},
        {normalised(question.text) for question in judged(person)},
    ]
    assert [len(family) for family in families] == [66, 12, 24]
    assert len(set.union(*families)) == 102


def test_a_planted_reply_holds_the_answer_and_no_question_gives_it_away() -> None:
    for person in people(10):
        for question in planted(person):
            assert holds(question.reply, [question.answer])
        for question in (*planted(person), *judged(person)):
            assert person.name in question.text
            assert not holds(question.text, [question.answer])


def test_every_attribute_has_phrasings_without_holes() -> None:
    assert set(phrasings()) == set(Attribute)
    for person in people(3):
        for question in (*planted(person), *judged(person)):
            assert not re.search(r"[{}]|\ba [aeiou]", f"{question.text} {question.reply}")
