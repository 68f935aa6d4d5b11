"""Runs of many facts that can be interrupted: every row is written as soon as it is known.

A file's first line says what its rows mean: a run goes on only with rows that mean the same as its own.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from app.schemas import DeletionRequest
from benchmarks.cases import ROUNDINGS, Case, answered_at_once, prepare
from benchmarks.facts import BadData
from benchmarks.measures import Row
from benchmarks.provenance import commit
from worker import pipeline
from worker.errors import PipelineError
from worker.loading import Loaded
from worker.r2f.config import Config
from worker.unlearning import flattened

NOT_KNOWN = "not_known"


def run(
    loaded: Loaded,
    requests: Sequence[DeletionRequest],
    units: Sequence[str],
    measure: Callable[[Case, str], Row],
    *,
    settings: Row,
    wanted: int,
    seeds: int,
    out: Path,
    progress: Callable[[float], None],
    roundings: Sequence[str] = ROUNDINGS,
) -> list[Row]:
    """Measure every unit on every known fact; what is in the file already is not run again.

    A fact whose plain question the base model does not answer gets a row `not_known` without a seed before all else;
    one too few of whose held-out views it answers under a seed, a row with that seed.

    Args:
        settings: what the rows depend on beside the facts, the model and the method: the benchmark's name, and more.

    Returns:
        All rows of the file, with `fact`, `seed` and `method` (the unit) in each.
    """
    rows = resume(out, meaning(loaded, requests, settings), lambda: not_answered(loaded, requests))

    def add(row: Row) -> None:
        rows.append(append(out, row))

    for seed in range(seeds):
        found, unknown = 0, not_known(rows, None, seed)
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
                    continue
                for place, unit in enumerate(todo):
                    progress((seed + (found + place / len(todo)) / wanted) / seeds)
                    add({"fact": number, "seed": seed, "method": unit, **attempted(partial(measure, case, unit))})
            found += 1
    progress(1.0)
    return rows


def not_answered(loaded: Loaded, requests: Sequence[DeletionRequest]) -> list[Row]:
    """A row `not_known`, of no seed, for each fact whose plain question the base model does not answer."""
    known = set(answered_at_once(loaded, requests))
    return [{"fact": n, "seed": None, "method": NOT_KNOWN} for n in range(len(requests)) if n not in known]


def not_known(rows: Sequence[Row], *seeds: int | None) -> list[int]:
    """The numbers of facts that rows of these seeds call not known; None: those not answered at once."""
    return [int(str(row["fact"])) for row in rows if row["method"] == NOT_KNOWN and row["seed"] in seeds]


def attempted(measure: Callable[[], Row]) -> Row:
    """What is measured; `failed` with the name of the error where it cannot be."""
    try:
        with pipeline.told_plainly():
            return measure()
    except PipelineError as error:
        return {"failed": type(error).__name__}


def meaning(loaded: Loaded, requests: Sequence[DeletionRequest], settings: Row) -> Row:
    """What the rows of a run mean: its own settings, the facts, the model with what goes with it, and the method.

    The curvature is named by how it is made: its bits are another machine's own.
    """
    facts = json.dumps([request.model_dump(mode="json", exclude={"model"}) for request in requests])
    return {
        **settings,
        "facts": hashlib.sha256(facts.encode()).hexdigest(),
        "model": loaded.model_digest,
        "dtype": str(loaded.lm.model.dtype),
        "decoder": loaded.card.digest,
        "paraphraser": loaded.paraphraser.id if loaded.paraphraser else "",
        **flattened({"calibration": asdict(loaded.calibration), "config": asdict(Config())}),
    }


def resume(path: Path, about: Row, first: Callable[[], list[Row]] = list) -> list[Row]:
    """The rows of an earlier run; where there was none, the file is begun.

    A line counts once its newline is written: what was interrupted before that is cut off.

    Args:
        about: what the rows mean, kept in the first line.
        first: makes the rows that a new file begins with.

    Raises:
        BadData: the rows that are there mean something else, or a line is not a row.
    """
    content = path.read_bytes() if path.exists() else b""
    if not content:
        rows = first()
        _write(path, [{"about": about}, *rows])
        return rows
    whole = content[: content.rfind(b"\n") + 1]
    head, *rows = [_row(line, f"{path}:{n}") for n, line in enumerate(whole.split(b"\n")[:-1], start=1)] or [{}]
    there = head.get("about")
    if not isinstance(there, dict):
        raise BadData(f"{path} does not say what its rows mean: give another --out.")
    for name in {**about, **there}:
        if about.get(name) != there.get(name):
            raise BadData(f"{path}: {name} is {there.get(name)} there, {about.get(name)} here: give another --out.")
    if whole != content:
        os.truncate(path, len(whole))
    return rows


def append(path: Path, row: Row) -> Row:
    """Write a row as soon as it is known, with the commit that it was measured at: an interrupted run goes on after it.

    Returns:
        The row with its commit, as it was written.
    """
    made = {**row, "commit": commit()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(made) + "\n")
    return made


def rewrite(path: Path, rows: Sequence[Row]) -> None:
    """Put other rows below a file's first line."""
    with path.open(encoding="utf-8") as file:
        head = json.loads(file.readline())
    _write(path, [head, *rows])


def _write(path: Path, lines: Sequence[Row]) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    draft.replace(path)


def _row(line: bytes, place: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadData(f"{place} is not a row: {error}.") from error
    if not isinstance(row, dict):
        raise BadData(f"{place} is not a row: a JSON object wanted.")
    return row
