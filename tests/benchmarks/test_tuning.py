"""Settings of the compared methods: every trained one has a grid, and the best is where most goes and most stays."""

import pytest

from app.methods import Method
from benchmarks.measures import Row
from benchmarks.tuning import TUNED, best, grid, scored, table
from worker.baselines.catalogue import BASELINES


@pytest.mark.parametrize("method", TUNED)
def test_a_grid_holds_the_methods_own_settings_and_others(method: Method) -> None:
    choices = grid(method)
    assert BASELINES[method] in choices.values()
    assert len({repr(choice) for choice in choices.values()}) == len(choices) == 3


def test_only_methods_on_the_path_of_r2f_have_no_grid() -> None:
    walked = {Method.R2F, Method.FULL_GRADIENT, Method.FULL_GRADIENT_DENSE, Method.LORA_SINGLE, Method.LORA_MULTI}
    assert set(Method) - set(TUNED) == walked


def _row(unit: str, success: float, neighbours: float | None, **more: object) -> Row:
    return {"fact": 0, "method": unit, "success": success, "neighbours": neighbours, "agreement": 1.0, **more}


def test_the_best_forgets_and_keeps_and_a_failure_counts_nought() -> None:
    rows = [
        _row("npo: low", 0.5, 1.0),
        _row("npo: high", 1.0, 0.4),
        _row("npo: middle", 0.9, 0.8),
        _row("flat: low", 0.1, None),
        {"fact": 0, "method": "flat: high", "failed": "DivergedError"},
        {"fact": 1, "method": "not_known"},
    ]
    assert best(rows) == {"npo": "middle", "flat": "low"}
    lucky = [*rows, *({**row, "fact": 1} for row in rows[:3]), _row("npo: once", 1.0, 1.0)]
    assert best(lucky)["npo"] == "middle", "of one fact out of two nobody knows"
    assert scored(rows[4])["score"] == 0.0
    assert scored(rows[3])["score"] == 0.1
    shown = table(rows)
    assert "| npo | **middle** | 1 | 0 | 0.9 |" in shown
    assert "| flat | high | 1 | 1 |" in shown
