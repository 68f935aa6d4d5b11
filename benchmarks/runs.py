"""Runs of many facts that can be interrupted: every row is written as soon as it is known."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from app.schemas import DeletionRequest
from benchmarks.cases import ROUNDINGS, Case, answered_at_once, prepare
from benchmarks.measures import Row
from worker.loading import Loaded

NOT_KNOWN = "not_known"


def run(
    loaded: Loaded,
    requests: Sequence[DeletionRequest],
    units: Sequence[str],
    measure: Callable[[Case, str], Row],
    *,
    wanted: int,
    seeds: int,
    out: Path,
    progress: Callable[[float], None],
    roundings: Sequence[str] = ROUNDINGS,
) -> list[Row]:
    """Measure every unit on every known fact; what is in the file already is not run again.

    A fact whose plain question, or too few of whose held-out views, the base model answers gets one row `not_known`.

    Returns:
        All rows of the file, with `fact`, `seed` and `method` (the unit) in each.
    """
    rows = read_rows(out)

    def add(row: Row) -> None:
        rows.append(row)
        append(out, row)

    unknown = unknown_facts(loaded, requests, rows, add)
    for seed in range(seeds):
        found = 0
        for number, request in enumerate(requests):
            if found >= wanted:
                break
            if number in unknown:
                continue
            done = {row["method"] for row in rows if (row["fact"], row["seed"]) == (number, seed)}
            todo = [unit for unit in units if unit not in done]
            if todo:
                case = prepare(loaded, request, seed, roundings)
                if case is None:
                    add({"fact": number, "seed": seed, "method": NOT_KNOWN})
                    unknown.add(number)
                    continue
                for place, unit in enumerate(todo):
                    progress((seed + (found + place / len(todo)) / wanted) / seeds)
                    add({"fact": number, "seed": seed, "method": unit, **measure(case, unit)})
            found += 1
    progress(1.0)
    return rows


def unknown_facts(
    loaded: Loaded, requests: Sequence[DeletionRequest], rows: Sequence[Row], add: Callable[[Row], None]
) -> set[object]:
    """The numbers of facts that the rows call not known; where there is no row yet, all are asked first."""
    if not rows:
        known = set(answered_at_once(loaded, requests))
        for number in sorted(set(range(len(requests))) - known):
            add({"fact": number, "seed": 0, "method": NOT_KNOWN})
    return {row["fact"] for row in rows if row["method"] == NOT_KNOWN}


def read_rows(path: Path) -> list[Row]:
    """The rows of an earlier run, if there was one."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def append(path: Path, row: Row) -> None:
    """Write a row as soon as it is known: an interrupted run goes on after it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
