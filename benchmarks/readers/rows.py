"""Rows of JSON files, with errors that name the file and the place in it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.readers.benchmark import BadBenchmark

ENDINGS = (".json", ".jsonl")


@dataclass(frozen=True)
class Row:
    """One record, and where it stands."""

    place: str
    fields: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A field that must hold a text."""
        value = self.fields.get(name)
        if not isinstance(value, str) or not value.strip():
            raise BadBenchmark(f"{self.place}: `{name}` must be a text that is not empty.")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A field that may hold a text or a list of texts; none where it is absent."""
        value = self.fields.get(name, ())
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list | tuple) or not all(isinstance(text, str) for text in found):
            raise BadBenchmark(f"{self.place}: `{name}` must be a text or a list of texts.")
        return tuple(found)

    def number(self, name: str, below: int) -> int:
        """A field that must hold a whole number from 0 on."""
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < below:
            raise BadBenchmark(f"{self.place}: `{name}` must be a whole number from 0 to {below - 1}.")
        return value


def rows(path: Path) -> Iterator[Row]:
    """The records of a file: one JSON list, or one JSON object a line.

    Raises:
        BadBenchmark: it cannot be read, or holds something else.
    """
    text = _content(path)
    if text.lstrip().startswith("["):
        for number, value in enumerate(_parsed(text, str(path))):
            yield _row(value, f"{path}, record {number}")
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _row(_parsed(line, f"{path}, line {number}"), f"{path}, line {number}")


def lines(path: Path) -> tuple[str, ...]:
    """The lines of a plain text that are not empty."""
    return tuple(line.strip() for line in _content(path).split("\n") if line.strip())


def found(folder: Path, name: str) -> Path | None:
    """A file of that name without its ending, as JSON or JSON lines."""
    return next((path for ending in ENDINGS if (path := folder / f"{name}{ending}").is_file()), None)


def needed(folder: Path, name: str) -> Path:
    """The same, which must be there."""
    path = found(folder, name)
    if path is None:
        tables = sorted(other.name for other in folder.glob(f"{name}*.parquet"))
        hint = f" {tables[0]} is there: export it as JSON lines." if tables else ""
        raise BadBenchmark(f"{folder} holds no {name}.json or {name}.jsonl.{hint}")
    return path


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise BadBenchmark(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadBenchmark(f"{path} is not UTF-8 text.") from error


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadBenchmark(f"{place}: not JSON: {error}.") from error


def _row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise BadBenchmark(f"{place}: must be a JSON object.")
    return Row(place, value)
