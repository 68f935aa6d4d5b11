"""The unlearning table: disjoint halves of facts, intervals over facts, and clear words about bad data."""

import json
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.commands import bench_files
from app.methods import Method
from app.schemas import DeletionRequest, PromptTarget
from benchmarks import ablations, cases, decoding, unlearning
from benchmarks.facts import BadData, facts
from benchmarks.measures import Row
from benchmarks.plots import plot
from benchmarks.provenance import provenance
from benchmarks.runs import NOT_KNOWN
from benchmarks.tables import apart, interval
from benchmarks.unlearning import CONTROL, table
from worker.baselines.catalogue import BASELINES
from worker.baselines.task import Unlearned
from worker.errors import NoStep
from worker.r2f.config import Config
from worker.r2f.examples import Example
from worker.r2f.knowledge import Knowledge
from worker.r2f.text import Form, Prompt
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
    assert "some 22 replies" in paired


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


def test_a_dense_update_without_a_step_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlearning, "task_of", lambda *_: None)
    case = SimpleNamespace(config=Config(), known=None, kept=None)
    with pytest.raises(NoStep):
        unlearning.measured(
            SimpleNamespace(lm=None),  # type: ignore[arg-type]
            case,  # type: ignore[arg-type]
            [],
            Method.FULL_GRADIENT_DENSE,
            lambda task: Unlearned({}),
            whole=False,
        )


def test_benign_fine_tuning_teaches_other_facts_and_nothing_that_is_protected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlearning, "_forget", lambda *_: ({"a site": "its change"}, nullcontext))
    for name in ("judged", "alike", "lasting"):
        monkeypatch.setattr(unlearning, name, lambda *_: {})
    monkeypatch.setattr(unlearning, "attacked", lambda _, views, update, examples: examples)
    lm = SimpleNamespace(whole_reply=lambda prompt, reply: f"{prompt.text} {reply}")
    view = View(0, Prompt("The capital of Italy?"), ("Rome",), "f", "bank")
    kept = SimpleNamespace(examples=("protected",))
    case = SimpleNamespace(config=Config(), views=(view,), kept=kept, curvature_seconds=lambda: 1.0)
    pairs = {"What is Italy's capital?": "Rome", "What is the capital of Spain?": "Madrid", "Where is Rome?": "Italy"}
    requests = [DeletionRequest(model=MODEL, targets=[PromptTarget(prompt=p, answer=a)]) for p, a in pairs.items()]
    row = unlearning.measured(SimpleNamespace(lm=lm), case, requests, Method.R2F, None, whole=True)  # type: ignore[arg-type]
    assert row["benign"] == ["What is the capital of Spain? Madrid"]


@pytest.mark.parametrize(
    ("method", "curved"), [(Method.R2F, True), (Method.FULL_GRADIENT_DENSE, True), (Method.NPO, False)]
)
def test_the_neighbours_curvature_is_in_the_seconds_of_those_that_use_it(
    monkeypatch: pytest.MonkeyPatch, method: Method, curved: bool
) -> None:
    monkeypatch.setattr(unlearning, "_forget", lambda *_: ({}, nullcontext))
    for name in ("judged", "alike"):
        monkeypatch.setattr(unlearning, name, lambda *_: {})
    case = SimpleNamespace(curvature_seconds=lambda: 1000.0)
    row = unlearning.measured(None, case, [], method, BASELINES.get(method), whole=False)  # type: ignore[arg-type]
    assert (float(str(row["seconds"])) >= 1000) == curved


def test_the_curvature_that_is_timed_is_the_one_that_protects(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[object, ...]] = []
    monkeypatch.setattr(cases, "neighbour_curvature", lambda *asked: taken.append(asked))
    loaded, config = SimpleNamespace(lm="the model"), Config(seed=3)
    for examples in ((), ("a reply",)):
        kept = SimpleNamespace(examples=examples)
        assert cases._curvature_seconds(loaded, kept, config) >= 0  # type: ignore[arg-type]
    assert taken == [("the model", ("a reply",), config.neighbour_rank, 3)]


@pytest.fixture
def attacks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str]]]:
    """The views that every attack was judged by, and the replies that it taught; the first fact is known after all."""
    seen: list[tuple[list[str], list[str]]] = []
    forms = (Form.CHAT, Form.PLAIN)
    training = tuple(View(0, Prompt(f"t{n}", forms[n % 2]), ("Rome",), "f", "bank") for n in range(16))
    held_out = tuple(View(0, Prompt(f"h{n}"), ("Rome",), "f", "bank") for n in range(4))

    def asked(_: object, request: DeletionRequest, seed: int) -> Knowledge:
        known = (Example((1, 2), (0,), (2,), ((2,),)),) if _question(request) == "What is 0?" else ()
        return Knowledge(training, ("",) * 16, held_out, known, "")

    def attacked(_: object, views: list[View], update: object, examples: list[str]) -> float:
        seen.append(([view.prompt.text for view in views], examples))
        return 0.5

    monkeypatch.setattr(unlearning, "asked", asked)
    monkeypatch.setattr(unlearning, "attacked", attacked)
    monkeypatch.setattr(unlearning, "which_answered", lambda _, views: [view.prompt.text == "h0" for view in views])
    return seen


def _question(request: DeletionRequest) -> str:
    (target,) = request.targets
    assert isinstance(target, PromptTarget)
    return target.prompt


def test_a_control_is_unknown_and_attacked_as_rap_attacks(
    attacks: list[tuple[list[str], list[str]]], tmp_path: Path
) -> None:
    lm = SimpleNamespace(example=lambda prompt, reply, answers, target: f"{prompt.text}: {reply}")
    loaded = SimpleNamespace(lm=lm, card=SimpleNamespace(sketch_rank=8))
    requests = [
        DeletionRequest(model=MODEL, targets=[PromptTarget(prompt=f"What is {n}?", answer="Rome")]) for n in range(4)
    ]
    rows, out = [_row(n, NOT_KNOWN, None) for n in range(4)], tmp_path / "rows.jsonl"
    found = unlearning.add_controls(loaded, requests, rows, 2, out)  # type: ignore[arg-type]
    controls = {row["fact"]: row["never_knew"] for row in found if row["method"] == CONTROL}
    assert controls == {0: None, 1: 0.5, 2: 0.5}  # the first was tried, and is none
    (judged, taught), _ = attacks
    assert judged == ["h1", "h2", "h3"]  # the base model answers h0
    assert len(taught) == Config().views == 8
    assert taught[:2] == ["t0: The answer is Rome", "t1: Rome"]
    more = unlearning.add_controls(loaded, requests, found, 3, out)  # type: ignore[arg-type]
    assert [row["fact"] for row in more if row["method"] == CONTROL] == [0, 1, 2, 3]  # none is tried again


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
