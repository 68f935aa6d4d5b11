"""Tables of what tests have done, printed at the end of a run."""

from collections.abc import Callable, Iterable

Lines = Callable[[], Iterable[str]]
_TABLES: dict[str, Lines] = {}


def at_the_end(title: str, lines: Lines) -> None:
    """Have a table printed; `lines` is called when the run has ended."""
    _TABLES[title] = lines


def tables() -> dict[str, Lines]:
    """What is to be printed."""
    return _TABLES
