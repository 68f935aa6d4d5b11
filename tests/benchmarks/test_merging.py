"""Adapters for models that they are merged into and rounded with: the run, and what it leaves of the weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.schemas import DeletionRequest
from benchmarks import merging
from benchmarks.cases import Case
from benchmarks.measures import Row
from benchmarks.merging import AT, BESIDE, compare, table
from worker import pipeline
from worker.errors import NoStep
from worker.loading import Loaded
from worker.r2f.quantisation import QUANTISERS


def _run(loaded: Loaded, requests: list[DeletionRequest], out: Path) -> dict[str, Row]:
    rows = compare(loaded, requests, rounding="rtn4", wanted=1, out=out, progress=lambda share: None)
    assert rows == [json.loads(line) for line in out.read_text().splitlines()[1:]]
    return {str(row["method"]): row for row in rows if row["method"] in (AT, BESIDE)}


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of two layers says much else differently when it forgets."""
    strict = pipeline.config_of
    monkeypatch.setattr(pipeline, "config_of", lambda *asked: replace(strict(*asked), kl_budget=100.0))


@pytest.mark.usefixtures("lenient")
def test_a_run_to_its_end(
    loaded: Loaded, requests: list[DeletionRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = loaded.lm.model.get_submodule(loaded.lm.sites[0].name).weight
    own, walked = weight.data.clone(), []  # type: ignore[operator]
    judged, computed = merging.judged, merging.computed

    def watched(*asked: object) -> object:
        walked.append(weight.data.clone())  # type: ignore[operator]
        return computed(*asked)  # type: ignore[arg-type]

    def judging(loaded: Loaded, case: Case, *asked: object) -> Row:
        assert torch.equal(weight.data, QUANTISERS["rtn4"](own))  # type: ignore[arg-type]
        return judged(loaded, case, *asked)  # type: ignore[arg-type]

    monkeypatch.setattr(merging, "computed", watched)
    monkeypatch.setattr(merging, "judged", judging)
    rows = _run(loaded, requests, tmp_path / "merging.jsonl")
    assert torch.equal(walked[0], own)  # beside the weights as they are
    assert torch.equal(walked[1], QUANTISERS["rtn4"](own))
    assert rows[AT]["success"] == 1.0
    assert float(str(rows[AT]["answer"])) < float(str(rows[BESIDE]["answer"]))
    assert f"| {AT} | 1 | 0 | 1 |" in table(list(rows.values()))
    assert torch.equal(weight.data, own)  # type: ignore[arg-type]


def test_after_a_deletion_that_fails_the_rounded_model_is_there_again(
    loaded: Loaded, requests: list[DeletionRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = loaded.lm.model.get_submodule(loaded.lm.sites[0].name).weight
    own, seen = weight.data.clone(), []  # type: ignore[operator]

    def failing(*asked: object) -> object:
        seen.append(weight.data.clone())  # type: ignore[operator]
        raise NoStep

    monkeypatch.setattr(merging, "computed", failing)
    rows = _run(loaded, requests, tmp_path / "merging.jsonl")
    assert [row["failed"] for row in rows.values()] == ["NoStep", "NoStep"]
    assert torch.equal(seen[1], QUANTISERS["rtn4"](own))
    assert torch.equal(weight.data, own)  # type: ignore[arg-type]
