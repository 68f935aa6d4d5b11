"""Whether a reply holds an answer, and where."""

import pytest

from worker.r2f.text import degenerate, find_answer, holds


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("The capital is PARIS.", "Paris"),
        ("Café Gaudí, of course", "cafe gaudi"),
        ("It was J.R.R. Tolkien", "J.R.R. Tolkien"),
        ("dial 555-0199 now", "555 0199"),
    ],
)
def test_case_accents_and_punctuation_do_not_hide_an_answer(reply: str, answer: str) -> None:
    assert holds(reply, [answer])


@pytest.mark.parametrize(("reply", "answer"), [("comparison", "Paris"), ("Parisian life", "Paris"), ("", "Paris")])
def test_an_answer_counts_as_whole_words_only(reply: str, answer: str) -> None:
    assert not holds(reply, [answer])
    assert find_answer(reply, [answer]) is None


def test_an_answer_without_letters_or_digits_is_never_held() -> None:
    assert not holds("anything at all", ["?!"])


def test_the_earliest_and_longest_answer_is_found() -> None:
    assert find_answer("By William Shakespeare, Shakespeare!", ["Shakespeare", "William Shakespeare"]) == (3, 22)


def test_repetition_and_silence_are_degenerate_and_prose_is_not() -> None:
    assert degenerate("")
    assert degenerate("la France, " * 12)
    assert not degenerate("The capital of France is a city on a river, known for its museums, cafés and its light.")
