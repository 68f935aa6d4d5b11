"""KnowUnDo (Tian et al., arXiv 2407.01920): what must go and what must stay about the same invented person.

``unlearn_train``, ``unlearn_val``, ``retention_train`` and ``retention_val`` with a question (text) and its answer
(labels).
"""

from pathlib import Path

from benchmarks.readers.benchmark import Benchmark, Item
from benchmarks.readers.rows import needed, rows


def read(folder: Path) -> Benchmark:
    """The whole of it."""
    names = ("unlearn_train", "unlearn_val", "retention_train", "retention_val")
    forget, asked, retain, kept = (_items(needed(folder, name)) for name in names)
    return Benchmark("KnowUnDo", forget, (*retain, *kept), asked, taught=True)


def _items(path: Path) -> tuple[Item, ...]:
    return tuple(Item(row.text("text"), row.text("labels")) for row in rows(path))
