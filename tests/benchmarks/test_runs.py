"""Runs that can be interrupted: what is done is not done again, and rows that mean something else are refused."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from app.schemas import DeletionRequest, PromptTarget
from benchmarks import runs
from benchmarks.cases import Case
from benchmarks.facts import BadData
from benchmarks.measures import Row
from benchmarks.provenance import commit
from benchmarks.runs import append, attempted, meaning, resume, rewrite
from worker.baselines.task import NoExamplesError
from worker.errors import NoStep
from worker.loading import Loaded
from worker.r2f.calibration import CalibrationConfig
from worker.r2f.config import Config
from worker.r2f.finetuning import DivergedError
from worker.r2f.language import PromptTooLongError
from worker.r2f.linearise import NonFiniteGradientError

ABOUT: Row = {"bench": "b", "whole": False}
ROWS: list[Row] = [{"fact": n, "seed": 0, "method": "npo", "success": 1.0, "commit": commit()} for n in range(3)]


class Model:
    """Stands for a model: which facts it answers at once, which of them under a seed too, and what was asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answered: list[int], not_known: list[tuple[int, int]]) -> None:
        self.at_once = 0
        self.measured: list[tuple[int, int, str]] = []
        self._not_known = not_known
        self._answered = answered
        monkeypatch.setattr(runs, "answered_at_once", self._asked)
        monkeypatch.setattr(runs, "prepare", self._prepared)

    def _asked(self, loaded: Loaded, requests: list[DeletionRequest]) -> list[int]:
        self.at_once += 1
        return self._answered

    def _prepared(self, loaded: Loaded, request: DeletionRequest, seed: int, roundings: object) -> object:
        number = int(cast(PromptTarget, request.targets[0]).answer)
        return None if (number, seed) in self._not_known else (number, seed)

    def measure(self, case: Case, unit: str) -> Row:
        number, seed = cast(tuple[int, int], case)
        self.measured.append((number, seed, unit))
        return {"success": 1.0}

    def run(self, out: Path, *, seeds: int = 1, wanted: int = 9, facts: int = 4, **settings: object) -> list[Row]:
        return runs.run(
            loaded(),
            requests(facts),
            ["npo"],
            self.measure,
            settings={"bench": "b", **settings},
            wanted=wanted,
            seeds=seeds,
            out=out,
            progress=lambda share: None,
        )


LM = SimpleNamespace(model=SimpleNamespace(dtype=torch.float32))
HALF = SimpleNamespace(model=SimpleNamespace(dtype=torch.bfloat16))


def loaded(**changed: object) -> Loaded:
    digests = {
        "model_digest": "m",
        "lm": LM,
        "card": SimpleNamespace(digest="d"),
        "calibration": CalibrationConfig(),
        "paraphraser": None,
        **changed,
    }
    return cast(Loaded, SimpleNamespace(**digests))


def requests(facts: int, first: int = 0) -> list[DeletionRequest]:
    return [
        DeletionRequest(model="m", targets=[PromptTarget(prompt=f"What is number {n}?", answer=str(n))])
        for n in range(first, first + facts)
    ]


def _begun(path: Path) -> Path:
    assert resume(path, ABOUT, lambda: ROWS[:1]) == ROWS[:1]
    for row in ROWS[1:]:
        append(path, row)
    return path


def test_a_line_that_was_interrupted_is_cut_off_and_the_run_goes_on(tmp_path: Path) -> None:
    path = _begun(tmp_path / "rows.jsonl")
    whole = path.read_bytes()
    for less in (1, 9):  # without its newline, and torn
        path.write_bytes(whole[:-less])
        assert resume(path, ABOUT) == ROWS[:2]
        append(path, ROWS[2])
        assert path.read_bytes() == whole


def test_a_broken_line_in_the_middle_is_named_with_its_place(tmp_path: Path) -> None:
    path = _begun(tmp_path / "rows.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    for broken in ('{"fact": 0, "se\n', "3\n"):
        path.write_text("".join([*lines[:2], broken, *lines[3:]]))
        with pytest.raises(BadData, match=r"rows\.jsonl:3 is not a row"):
            resume(path, ABOUT)


def test_rows_of_other_settings_are_refused_by_the_name_of_what_differs(tmp_path: Path) -> None:
    path = _begun(tmp_path / "rows.jsonl")
    before = path.read_bytes()
    for other, said in (
        ({**ABOUT, "whole": True}, "whole is False there, True here: give another --out"),
        ({"bench": "b"}, "whole is False there, None here"),
        ({**ABOUT, "rank": 8}, "rank is None there, 8 here"),
    ):
        with pytest.raises(BadData, match=said):
            resume(path, other)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [json.dumps(ROWS[0]) + "\n", "no newline in it", '{"about": 3}\n'])
def test_a_file_that_does_not_say_what_it_means_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(BadData, match="does not say what its rows mean: give another --out"):
        resume(path, ABOUT)
    assert path.read_text() == content


def test_rows_are_replaced_below_the_first_line(tmp_path: Path) -> None:
    path = _begun(tmp_path / "rows.jsonl")
    rewrite(path, ROWS[1:])
    assert resume(path, ABOUT) == ROWS[1:]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_what_rows_mean_hangs_on_the_model_the_facts_and_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    same = meaning(loaded(), requests(2), {"whole": False})
    assert meaning(loaded(), requests(2), {"whole": False}) == same == json.loads(json.dumps(same))
    others = {
        "whole": meaning(loaded(), requests(2), {"whole": True}),
        "facts": meaning(loaded(), requests(2, first=1), {"whole": False}),
        "model": meaning(loaded(model_digest="n"), requests(2), {"whole": False}),
        "dtype": meaning(loaded(lm=HALF), requests(2), {"whole": False}),
        "decoder": meaning(loaded(card=SimpleNamespace(digest="e")), requests(2), {"whole": False}),
        "paraphraser": meaning(loaded(paraphraser=SimpleNamespace(id="t5")), requests(2), {"whole": False}),
        "calibration.tokens": meaning(loaded(calibration=CalibrationConfig(tokens=300)), requests(2), {"whole": False}),
    }
    monkeypatch.setattr(runs, "Config", lambda: replace(Config(), depth=0.5))
    others["config.depth"] = meaning(loaded(), requests(2), {"whole": False})
    for name, other in others.items():
        assert [key for key in same if same[key] != other[key]] == [name]


def test_what_is_in_the_file_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, out = Model(monkeypatch, [1, 2, 3], []), tmp_path / "rows.jsonl"
    model.run(out, wanted=1)
    rows = model.run(out, wanted=2)
    assert model.measured == [(1, 0, "npo"), (2, 0, "npo")]
    assert model.run(out, wanted=2) == rows
    assert len(model.measured) == 2
    assert [json.loads(line) for line in out.read_text().splitlines()[1:]] == rows


def test_a_run_with_other_facts_or_settings_needs_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, out = Model(monkeypatch, [1, 2, 3], []), tmp_path / "rows.jsonl"
    model.run(out, whole=False)
    with pytest.raises(BadData, match="whole is False there, True here"):
        model.run(out, whole=True)
    with pytest.raises(BadData, match="facts is"):
        model.run(out, whole=False, facts=3)


def test_what_counts_as_unknown_does_not_hang_on_where_a_run_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    model = Model(monkeypatch, [0, 1, 3], not_known=[(0, 1)])  # the first fact, under the second seed alone
    rows = model.run(whole, seeds=2)
    assert [(row["fact"], row["seed"]) for row in rows if row["method"] == "not_known"] == [(2, None), (0, 1)]
    assert model.measured == [(0, 0, "npo"), (1, 0, "npo"), (3, 0, "npo"), (1, 1, "npo"), (3, 1, "npo")]
    lines = whole.read_text().splitlines(keepends=True)
    parts.write_text("".join(lines[:2] + [line for line in lines if "not_known" in line and ": 1" in line]))
    model.measured.clear()
    model.run(parts, seeds=2)
    assert model.measured[0] == (0, 0, "npo")  # though it is not known under another seed
    assert len(model.measured) == 5
    assert model.at_once == 1


def test_a_file_is_begun_with_all_that_is_unknown_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*files: Path) -> None:
        raise KeyboardInterrupt

    model, out = Model(monkeypatch, [3], []), tmp_path / "rows.jsonl"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            model.run(out)
    assert not out.exists()
    model.run(out)
    assert model.measured == [(3, 0, "npo")]


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (NoStep(), "NoStep"),
        (NonFiniteGradientError(), "NonFinite"),
        (NoExamplesError(), "NothingToKeep"),
        (PromptTooLongError(), "PromptTooLong"),
        (DivergedError(), "Diverged"),
    ],
)
def test_what_cannot_be_measured_is_told_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, name: str
) -> None:
    class Failing(Model):
        def measure(self, case: Case, unit: str) -> Row:
            if case[0] == 1:  # type: ignore[index]
                raise error
            return super().measure(case, unit)

    rows = Failing(monkeypatch, [1, 2], []).run(tmp_path / "rows.jsonl", facts=3)
    assert rows[1:] == [
        {"fact": 1, "seed": 0, "method": "npo", "failed": name, "commit": commit()},
        ROWS[2],
    ]


def test_an_error_of_the_benchmark_itself_ends_the_run() -> None:
    def measure() -> Row:
        raise KeyError

    with pytest.raises(KeyError):
        attempted(measure)
