"""Adapters that are merged into a model which is then rounded: where should their path be walked?

    r2f bench merging --data FOLDER [--rounding q4_1] [--facts 16] [--out FILE.jsonl]
    r2f bench merging --quick

A change of less than half a step of the grid is rounded away. So the path is walked beside the weights, as for an
adapter that is loaded beside the model, or at the merged and rounded weights: every gradient and every step. Both
adapters are judged merged and rounded, on what the rounded base model knows, beside what it says.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from app.schemas import DeletionRequest
from benchmarks.cases import Case
from benchmarks.measures import Row, computed, judged
from benchmarks.runs import run
from benchmarks.tables import paired_table
from worker.loading import Loaded
from worker.r2f.adaptation import Update
from worker.r2f.linearise import Linearise
from worker.r2f.quantisation import QUANTISERS, Merged

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
    with Merged(loaded.lm.model, loaded.lm.sites, QUANTISERS[rounding]) as merged:
        with _holding(merged, {}):
            there = _measured_from_here(loaded)
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
    with _holding(merged, {}):
        if unit == AT:
            update, row = computed(there, case.kept, case.known, linearise, case.config, merged)
        else:
            merged.lift()
            update, row = computed(loaded, case.kept, case.known, linearise, case.config)
    return row | judged(there, case, {}, lambda: _holding(merged, update))


@contextmanager
def _holding(merged: Merged, update: Update) -> Iterator[None]:
    """The rounded model with an update merged; the rounded base model again afterwards, whatever happened inside."""
    merged.use(update)
    try:
        yield
    finally:
        merged.use({})


def _measured_from_here(loaded: Loaded) -> Loaded:
    """Drift is that from the model as it is now."""
    bounds, judges = (
        replace(usual, drift=usual.drift.here(loaded.lm)) for usual in (loaded.search_drift, loaded.judge_drift)
    )
    return replace(loaded, search_drift=bounds, judge_drift=judges)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: means over facts with intervals, and what walking at the rounded weights has more, paired."""
    return paired_table("path", rows, lambda unit: BESIDE)
