"""What becomes of an adapter: rounded, relearned, negated; beside the aims."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.schemas import DeletionRequest
from benchmarks.lasting import BENIGN, FACTORS, FIGURES, UNIT, benign, compare, plot, table
from benchmarks.measures import lessons
from benchmarks.unlearning import CONTROL
from worker import pipeline
from worker.loading import Loaded
from worker.r2f.config import Config
from worker.r2f.quantisation import QUANTISERS


def _row(fact: int, **more: object) -> dict[str, object]:
    return {"fact": fact, "seed": 0, "method": UNIT, "success": 1.0, "rap": 0.6, **more}


def test_the_table_sets_each_figure_beside_its_aim() -> None:
    rows = [_row(0, kl=0.001), _row(1, kl=0.009)]
    control = {"fact": 3, "seed": 0, "method": CONTROL, "never_knew": 0.45}
    shown = table([*rows, control, control])
    assert "2 facts, 0 without an adapter" in shown
    assert "| success on held-out views, greedy | 1 | ≥ 0.97 | yes |" in shown
    assert "| KL on generic prompts, nats | 0.005 | ≤ 0.003 | no |" in shown
    assert "| RAP minus the never-knew control | 0.15 | ≤ 0.1 | no |" in shown
    assert "RAP minus" not in table(rows)  # without a control there is no difference


def test_a_fact_without_an_adapter_counts_as_the_unchanged_model() -> None:
    failed = {"fact": 2, "seed": 0, "method": UNIT, "failed": "NoStep"}
    shown = table([_row(0, beside_q4_1=1.0), failed])
    assert "2 facts, 1 without an adapter" in shown
    assert "| success on held-out views, greedy | 0.5" in shown
    assert "| success, adapter beside GGUF Q4_1 weights | 0.5" in shown
    assert "RAP: 0.6" in shown  # nothing was attacked


def test_a_run_to_its_end(
    loaded: Loaded, requests: list[DeletionRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = pipeline.config_of  # a model of two layers says much else differently when it forgets
    monkeypatch.setattr(pipeline, "config_of", lambda *asked: replace(strict(*asked), kl_budget=100.0))
    out, shares = tmp_path / "lasting.jsonl", []
    rows = compare(loaded, requests, wanted=1, controls=1, out=out, progress=shares.append)
    (row,) = (row for row in rows if row["method"] == UNIT)
    assert row["success"] == 1.0
    assert (row["answered_x0"], row["answered_x4"]) == (1.0, 0.0)  # the base model knows it
    wanted = {figure.column for figure in FIGURES if figure.column != "rap_more"}
    assert wanted | {f"told_x{factor:g}" for factor in FACTORS} <= set(row)
    assert row["beside_rtn4"] == row["beside_q4_1"] == 1.0  # the adapter is in force there, or the fact would be back
    assert all(0.0 <= float(str(row[benign(attack)])) <= 1.0 for attack in BENIGN)
    assert all(row[f"success_{name}"] is not None for name in QUANTISERS)
    taught = lessons(loaded, SimpleNamespace(views=[SimpleNamespace(answers=("Oslo",))], config=Config()), requests)  # type: ignore[arg-type]
    said = [loaded.lm.decode(example.ids) for example in taught]
    assert len(said) == len(requests) - 1
    assert not any("Norway" in text or "Oslo" in text for text in said)
    (control,) = (row for row in rows if row["method"] == CONTROL)
    assert requests[int(str(control["fact"]))].targets[0].answer == "Poseidonia"  # type: ignore[union-attr]
    assert rows == [json.loads(line) for line in out.read_text().splitlines()[1:]]
    assert shares[-1] == 1.0
    plot(rows, tmp_path / "lasting.png")
    assert (tmp_path / "lasting.png").read_bytes().startswith(b"\x89PNG")
