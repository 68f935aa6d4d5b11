"""BLUR on RWKU (Hu et al., arXiv 2506.15699): questions on what must go, on what must stay, and on both at once.

Plain texts of one question a line, without answers: ``eval/pure_forget/rwku_questions.txt``,
``eval/pure_retain/all_retain.txt``, and ``relearn`` with texts whose benign teaching may bring the forgotten back.
"""

from pathlib import Path

from benchmarks.readers.benchmark import Benchmark, Item
from benchmarks.readers.rows import lines


def read(folder: Path) -> Benchmark:
    """The whole of it."""
    forget = _items(folder / "eval" / "pure_forget" / "rwku_questions.txt")
    retain = _items(folder / "eval" / "pure_retain" / "all_retain.txt")
    return Benchmark("BLUR RWKU", forget, retain, forget)


def _items(path: Path) -> tuple[Item, ...]:
    return tuple(Item(question, "") for question in lines(path))
