"""The unlearning table: disjoint halves of facts, intervals over facts, and clear words about bad data."""

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from app.commands import bench_files
from benchmarks import ablations, decoding
from benchmarks.facts import BadData, facts
from benchmarks.measures import Row
from benchmarks.plots import plot
from benchmarks.provenance import provenance
from benchmarks.tables import interval
from benchmarks.unlearning import table
from worker.r2f.config import Config
from worker.r2f.examples import Example
from worker.r2f.knowledge import Knowledge
from worker.r2f.text import Prompt
from worker.r2f.views import View

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


def test_intervals_are_over_facts_and_not_over_seeds() -> None:
    one_fact = [{"fact": 0, "kl": value} for value in (0.0, 1.0)]
    assert interval(one_fact, "kl") == "0.5 (0.5–0.5)"
    two_facts = [{"fact": n, "kl": float(n)} for n in range(2)]
    assert interval(two_facts, "kl") == "0.5 (0–1)"
    assert interval([], "kl") == "–"


def test_failures_are_counted_and_not_averaged() -> None:
    rows = [{"fact": 0, "method": "npo", "failed": "Diverged"}, {"fact": 1, "method": "npo", "success": 1.0}]
    assert "| npo | 2 | 1 | 1 (1–1) |" in table(rows)


def test_a_way_is_paired_with_the_decoder_of_its_rank_over_the_facts_of_both() -> None:
    rows = [
        {"fact": 0, "seed": 0, "method": "decoder@8", "kl": 1.0, "success": 1.0},
        {"fact": 0, "seed": 0, "method": "exact@8", "kl": 0.5, "success": 1.0},
        {"fact": 1, "seed": 0, "method": "exact@8", "kl": 9.0, "success": 0.0},
        {"fact": 0, "seed": 0, "method": "exact@4", "kl": 7.0, "success": 0.0},
        {"fact": 2, "seed": 0, "method": "not_known"},
    ]
    shown = decoding.table(rows)
    whole, _, paired = shown.partition("Paired")
    assert "2 facts that the model knows" in whole
    assert "| exact@8 | 2 | 0 | 0.5 (0–1) | 4.75 (0.5–9) |" in whole
    assert "| exact@8 | 0 (0–0) | -0.5 (-0.5–-0.5) |" in paired
    assert "exact@4" not in paired  # nothing to be paired with


def test_every_variant_changes_settings_that_there_are() -> None:
    for name, variant in ablations.VARIANTS.items():
        changed = replace(Config(), **variant.settings) != Config()  # type: ignore[arg-type]
        assert changed or variant.curvature is not ablations.neighbour_aware or name == ablations.WHOLE
    assert {ablations.WHOLE, *ablations.QUICK} <= set(ablations.VARIANTS)


def test_with_fewer_views_only_those_are_asked_for_leaks() -> None:
    views = [View(0, Prompt(f"q{n}"), ("yes",), "f", "bank") for n in range(4)]
    example = Example((1, 2), (0,), (2,), ((2,),))
    known = Knowledge(tuple(views), ("yes", "no", "yes", "yes"), (), (example,) * 3, "")
    few = ablations.fewer(known, 2)
    assert [view.prompt.text for view in few.training] == ["q0", "q2"]
    assert few.replies == ("yes", "yes")
    assert len(few.examples) == 2


def test_a_picture_has_a_panel_for_what_was_measured_and_none_for_what_failed(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"fact": 0, "seed": 0, "method": "r2f", "success": 1.0, "kl": 0.0},
        {"fact": 0, "seed": 0, "method": "npo", "failed": "Diverged"},
        {"fact": 1, "seed": 0, "method": "not_known"},
    ]
    plot(rows, tmp_path / "one.png")
    plot([*rows, {"fact": 0, "seed": 0, "method": "rmu", "success": 0.5, "kl": 0.1}], tmp_path / "two.png")
    heights = [int.from_bytes((tmp_path / name).read_bytes()[20:24], "big") for name in ("one.png", "two.png")]
    assert 0 < heights[0] < heights[1]


def test_a_table_says_what_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/r2f", "bench", "decoding", "--quick"])
    line = provenance()
    assert line.startswith("`r2f bench decoding --quick` at ")
    assert f"torch {version('torch')}" in line
    assert "somewhere" not in line


def test_rows_are_printed_as_json_where_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[Row] = [{"fact": 0, "seed": 0, "method": "r2f", "success": 1.0}]
    bench_files.write("| a table |", rows, tmp_path / "rows.jsonl", as_json=True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    assert (tmp_path / "rows.md").read_text().startswith("| a table |")
    assert (tmp_path / "rows.png").stat().st_size > 0
