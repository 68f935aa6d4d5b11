"""Adapters that are merged into a model which is then rounded: where should their path be walked?

    r2f bench merging --data FOLDER [--rounding q4_1] [--facts 16] [--out FILE.jsonl]
    r2f bench merging --quick

A change of less than half a step of the grid is rounded away. So the path is walked beside the weights, as for an
adapter that is loaded beside the model, or at the merged and rounded weights: every gradient and every step. Both
adapters are judged merged and rounded, on what the rounded base model knows, beside what it says.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from app.schemas import DeletionRequest
from benchmarks.cases import Case
from benchmarks.measures import Row, computed, judged
from benchmarks.runs import run
from benchmarks.tables import paired_table
from worker.loading import Loaded
from worker.r2f.linearise import Linearise
from worker.r2f.quantisation import Merged
from worker.serving import as_served, in_force

BESIDE, AT = "walked beside the weights", "walked at the rounded ones"


def compare(
    loaded: Loaded,
    requests: Sequence[DeletionRequest],
    *,
    rounding: str,
    wanted: int,
    out: Path,
    progress: Callable[[float], None],
) -> list[Row]:
    """Run what is not in the file yet; the rows of all that is."""
    with as_served(loaded, rounding) as (there, merged):
        assert merged is not None
        return run(
            there,
            requests,
            (BESIDE, AT),
            partial(_unit, loaded, there, merged),
            settings={"bench": "merging", "rounding": rounding},
            wanted=wanted,
            seeds=1,
            out=out,
            progress=progress,
            roundings=(),
        )


def _unit(loaded: Loaded, there: Loaded, merged: Merged, case: Case, unit: str) -> Row:
    """One fact's adapter, merged, rounded and judged.

    Args:
        there: what is loaded, with drift measured from the rounded base model.
    """
    linearise = Linearise(loaded.lm, loaded.decoder, case.config)
    try:
        if unit == AT:
            update, row = computed(there, case.kept, case.known, linearise, case.config, merged)
        else:
            merged.lift()
            update, row = computed(loaded, case.kept, case.known, linearise, case.config)
    finally:
        merged.use({})
    return row | judged(there, case, {}, lambda: in_force(loaded.lm, update, merged))


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: means over facts with intervals, and what walking at the rounded weights has more, paired."""
    return paired_table("path", rows, lambda unit: BESIDE)
