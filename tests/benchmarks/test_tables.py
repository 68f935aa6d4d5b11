"""Tables and pictures of rows: intervals over facts, failures counted, pairs, and what made them."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from app.commands import bench_files
from benchmarks import decoding
from benchmarks.measures import Row
from benchmarks.plots import plot
from benchmarks.provenance import commit, provenance
from benchmarks.runs import NOT_KNOWN
from benchmarks.tables import apart, interval
from benchmarks.unlearning import CONTROL, table


def test_intervals_are_over_facts_and_not_over_seeds() -> None:
    seeds = [{"fact": fact, "kl": value} for fact in range(6) for value in (0.0, 1.0)]
    assert interval(seeds, "kl") == "0.5"
    facts = [{"fact": n, "kl": float(n % 2)} for n in range(6)]
    assert interval(facts, "kl") == "0.5 (0.17–0.83)"
    assert interval(facts[:4], "kl") == "0.5"  # too few to draw from
    assert interval([], "kl") == "–"


def test_all_or_none_of_a_few_facts_is_not_certain() -> None:
    rows = [{"fact": n, "success": 1.0, "degenerate": 0.0, "kl": 0.0} for n in range(6)]
    assert interval(rows, "success") == "1 (0.61–1)"  # Wilson: n / (n + 1.96²)
    assert interval(rows, "degenerate") == "0 (0–0.39)"
    assert interval(rows, "kl") == "0"  # no share, of which nothing bounds the rest


def test_a_difference_of_two_kinds_of_fact_is_as_uncertain_as_both() -> None:
    rows = [{"fact": n, "rap": 0.5 + 0.01 * n} for n in range(6)]
    controls = [{"fact": n, "never_knew": float(n % 2)} for n in range(6)]
    found = apart(rows, "rap", controls, "never_knew")
    assert found
    assert found.mean == pytest.approx(0.025)
    assert found.limits
    assert found.limits[0] < -0.25
    assert found.limits[1] > 0.25
    assert apart(rows, "rap", [], "never_knew") is None


def _row(fact: int, method: str, seed: int | None = 0, **more: object) -> Row:
    return {"fact": fact, "seed": seed, "method": method, **more}


def test_a_failure_counts_as_the_unchanged_model() -> None:
    rows = [
        _row(0, "npo", failed="DivergedError"),
        _row(1, "npo", success=1.0, neighbours=0.5, kl=0.2, seconds=9.0),
        *(_row(fact, "r2f", success=1.0, neighbours=1.0, kl=0.1, seconds=5.0) for fact in range(2)),
    ]
    whole, _, paired = table(rows).partition("Paired")
    assert "| method | units | failed | USR greedy | GUR near | KL | seconds |" in whole
    assert _cells(whole, "npo") == ["2", "1", "0.5", "0.75", "0.1", "9"]
    assert _cells(whole, "r2f") == ["2", "0", "1", "1", "0.1", "5"]
    assert _cells(paired, "npo") == ["-0.5", "-0.25", "0", "4"]
    assert "counts as what it leaves" in whole
    assert "by replies to the neighbours that R2F protects" in paired


def test_a_pair_is_of_one_fact_and_seed_and_a_fact_counts_once() -> None:
    rows = [
        *(_row(0, "r2f", seed, success=1.0) for seed in range(3)),
        *(_row(0, "npo", seed, success=0.5) for seed in range(3)),
        _row(1, "r2f", 0, success=1.0),
        _row(1, "npo", 0, success=1.0),
        _row(1, "npo", 1, success=0.0),  # r2f has no such seed
    ]
    whole, _, paired = table(rows).partition("Paired")
    assert _cells(whole, "npo") == ["5", "0", "0.5"]
    assert _cells(paired, "npo") == ["-0.25"]


def test_controls_and_unknown_facts_are_no_methods() -> None:
    rows = [
        _row(0, "r2f", success=1.0),
        _row(1, NOT_KNOWN, None),
        _row(1, CONTROL, never_knew=0.25),
        _row(2, CONTROL, never_knew=None),
    ]
    shown = table(rows)
    assert "1 facts that the model knows" in shown
    assert "RAP on facts that the model never knew (1): 0.25" in shown
    assert f"| {NOT_KNOWN} |" not in shown
    assert f"| {CONTROL} |" not in shown


def _cells(table: str, unit: str) -> list[str]:
    """The means in a unit's line, without their intervals."""
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {unit} |"))
    return [cell.split("(")[0].strip() for cell in line.strip("| ").split("|")[1:]]


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
    assert "| exact@8 | 2 | 0 | 0.5 | 4.75 |" in whole
    assert "| exact@8 | 0 | -0.5 |" in paired
    assert "exact@4" not in paired  # nothing to be paired with


def test_a_picture_has_a_panel_for_what_was_measured_and_a_line_for_what_failed(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"fact": 0, "seed": 0, "method": "r2f", "success": 1.0, "kl": 0.0},
        {"fact": 0, "seed": 0, "method": "npo", "failed": "Diverged"},
        {"fact": 1, "seed": 0, "method": "not_known"},
    ]
    plot(rows, tmp_path / "one.png")
    plot([*rows, _row(1, "npo", success=0.5, kl=0.1)], tmp_path / "two.png")
    plot([row for row in rows if "failed" not in row], tmp_path / "alone.png")
    pictures = [(tmp_path / f"{name}.png").read_bytes() for name in ("alone", "one", "two")]
    heights = [int.from_bytes(picture[20:24], "big") for picture in pictures]
    assert 0 < heights[0] < heights[1] == heights[2]


def test_a_table_says_what_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/r2f", "bench", "decoding", "--quick"])
    line = provenance([])
    assert line.startswith(f"`r2f bench decoding --quick` at {commit()}; ")
    assert f"torch {version('torch')}" in line
    assert "somewhere" not in line


def test_a_table_of_several_runs_names_the_commits_of_its_rows() -> None:
    rows = [_row(0, "r2f", commit="commit aa"), _row(1, "r2f", commit="commit aa"), _row(2, "r2f", commit="commit bb")]
    assert " at commit aa, commit bb; " in provenance([{"method": NOT_KNOWN}, *rows])


def test_rows_are_printed_as_json_where_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[Row] = [{"fact": 0, "seed": 0, "method": "r2f", "success": 1.0}]
    bench_files.write("| a table |", rows, tmp_path / "rows.jsonl", as_json=True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    assert (tmp_path / "rows.md").read_text().startswith("| a table |")
    assert (tmp_path / "rows.png").stat().st_size > 0
