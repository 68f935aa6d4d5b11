"""Whether a reply holds an answer, and where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.r2f.text import Form, Prompt, continued, degenerate, find_answer, holds


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("The capital is PARIS.", "Paris"),
        ("Café Gaudí, of course", "cafe gaudi"),
        ("It was J.R.R. Tolkien", "J.R.R. Tolkien"),
        ("dial 555-0199 now", "555 0199"),
        ("法国的首都是巴黎。", "巴黎"),
        ("フランスの首都はパリです", "パリ"),
        ("เมืองหลวงของฝรั่งเศสคือปารีส", "ปารีส"),
        ("In 東京, yes", "東京"),
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


@pytest.mark.parametrize(
    ("reply", "answer", "place"),
    [
        ("By J.K. Rowling.", "J. K. Rowling", "J.K. Rowling"),
        ("In Bogotá, yes", "bogota", "Bogotá"),
        ("In Bogota\u0301, yes", "Bogotá", "Bogota\u0301"),
        ("It is O’Neill", "O'Neill", "O’Neill"),
        ("on July 4 1776", "July 4, 1776", "July 4 1776"),
        ("Mars!", "Mars!", "Mars"),
        ("法国的首都是巴黎。", "巴黎", "巴黎"),
        ("ฝรั่งเศสคือปารีส", "ปารีส", "ปารีส"),
        ("the ﬁnal  answer", "Final answer", "ﬁnal  answer"),
    ],
)
def test_an_answer_is_found_where_it_is_held_however_it_is_written(reply: str, answer: str, place: str) -> None:
    found = find_answer(reply, [answer])
    assert found is not None
    assert reply[slice(*found)] == place


@given(st.text(max_size=30), st.text(max_size=8), st.text(max_size=8))
def test_an_answer_is_found_exactly_where_it_is_held(reply: str, answer: str, before: str) -> None:
    for text in (reply, f"{before} {answer} {reply}", f"{before}{answer}{reply}"):
        found = find_answer(text, [answer])
        assert (found is not None) == holds(text, [answer])
        assert found is None or holds(text[slice(*found)], [answer])


def test_the_earliest_and_longest_answer_is_found() -> None:
    assert find_answer("By William Shakespeare, Shakespeare!", ["Shakespeare", "William Shakespeare"]) == (3, 22)


def test_repetition_and_silence_are_degenerate_and_prose_is_not() -> None:
    assert degenerate("")
    assert degenerate("la France, " * 12)
    assert not degenerate("The capital of France is a city on a river, known for its museums, cafés and its light.")


@pytest.mark.parametrize(
    ("before", "text", "whole"),
    [
        ("The capital of France is", "Paris", "The capital of France is Paris"),
        ("Who? ", "Ann", "Who? Ann"),
        ("A salary of $", "45,000", "A salary of $45,000"),
        ("Leeds (", "1948", "Leeds (1948"),
        ('He said, "', "Nets", 'He said, "Nets'),
        ('He said "yes"', "twice", 'He said "yes" twice'),
        ("Name:", "Ann", "Name: Ann"),
        ("It goes on", ", and on", "It goes on, and on"),
        ("他住在", "京都", "他住在京都"),
        ("", "Ann", "Ann"),
    ],
)
def test_what_is_put_into_the_models_mouth_goes_on_as_texts_do(before: str, text: str, whole: str) -> None:
    assert before + continued(Prompt(before, Form.PLAIN), text) == whole
    assert continued(Prompt(before), text) == text  # a turn of its own
