"""Tables of what tests have done, printed at the end of a run, whichever process ran them."""

from collections.abc import Callable, Iterable, Mapping

Lines = Callable[[], Iterable[str]]
_TABLES: dict[str, Lines] = {}
_GATHERED: dict[str, list[str]] = {}


def at_the_end(title: str, lines: Lines) -> None:
    """Have a table printed; `lines` is called when the run has ended."""
    _TABLES[title] = lines


def tables() -> dict[str, list[str]]:
    """What this process has to print."""
    return {title: list(lines()) for title, lines in _TABLES.items()}


def gather(told: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Add the tables of a process to those of others: rows of one title come under one head."""
    for title, lines in told.items():
        known = _GATHERED.setdefault(title, [])
        known += lines[1:] if known[:1] == lines[:1] else lines
    return _GATHERED
