"""The facts of the benchmarks: disjoint halves, groups in turn, and clear words about bad data."""

import json
from pathlib import Path

import pytest

from benchmarks.facts import BadData, facts

MODEL = "smollm2-135m-instruct"


def _data(folder: Path, lines: list[str]) -> Path:
    (folder / "known_1000").mkdir()
    (folder / "known_1000" / "questions.jsonl").write_text("\n".join(lines))
    return folder


def _fact(number: int) -> str:
    return json.dumps({"question": f"What is {number}?", "answer": str(number), "answer_group": f"g{number % 3}"})


def test_reported_facts_and_those_for_tuning_are_disjoint(tmp_path: Path) -> None:
    data = _data(tmp_path, [_fact(n) for n in range(20)])
    reported, tuning = ({r.targets[0].prompt for r in facts(MODEL, data, tuning=half)} for half in (False, True))  # type: ignore[union-attr]
    assert len(reported) == len(tuning) == 10
    assert reported.isdisjoint(tuning)


def test_facts_come_from_every_group_in_turn(tmp_path: Path) -> None:
    data = _data(tmp_path, [_fact(n) for n in range(20)])
    first = [int(r.targets[0].answer) % 3 for r in facts(MODEL, data)[:3]]  # type: ignore[union-attr]
    assert sorted(first) == [0, 1, 2]


def test_bad_data_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="give the folder"):
        facts(MODEL, tmp_path)
    with pytest.raises(BadData, match=r"questions\.jsonl:2 is not a fact"):
        facts(MODEL, _data(tmp_path, [_fact(0), "{}"]))


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_a_line_ends_where_json_ends_it(tmp_path: Path, character: str) -> None:
    fact = {"question": f"What{character}is it?", "answer": "It", "answer_group": "g"}
    lines = [_fact(0), json.dumps(fact, ensure_ascii=False), ""]
    (found,) = facts(MODEL, _data(tmp_path, lines))
    assert found.targets[0].prompt == fact["question"]  # type: ignore[union-attr]
