"""LUME (Ramakrishna et al., arXiv 2502.15097): stories, personal data and biographies.

``forget`` and ``retain`` with id, input and output. An id that ends in qa and a number is a question; others are texts
that go on.
"""

import re
from pathlib import Path

from benchmarks.readers.benchmark import Benchmark, Item
from benchmarks.readers.rows import needed, rows


def read(folder: Path) -> Benchmark:
    """The whole of it."""
    forget, retain = (_items(needed(folder, side)) for side in ("forget", "retain"))
    questions = tuple(item for item in forget if re.search(r"qa\d+$", item.subject))
    return Benchmark("LUME", forget, retain, questions or forget, taught=True)


def _items(path: Path) -> tuple[Item, ...]:
    return tuple(Item(row.text("input"), row.text("output"), subject=row.text("id")) for row in rows(path))
