"""MUSE (Shi et al., arXiv 2407.06460): news or books that a model was trained on.

A folder of one corpus with ``knowmem/forget_qa`` and ``retain_qa``, ``verbmem/forget`` (prompt and gt, which is
how it goes on), and ``raw/forget`` and ``retain2`` as a plain text or records with a text.
"""

from pathlib import Path

from benchmarks.readers.benchmark import Benchmark, Item
from benchmarks.readers.rows import found, lines, needed, rows


def read(folder: Path) -> Benchmark:
    """One corpus."""
    forget, retain = (_items(folder / "knowmem", side) for side in ("forget", "retain"))
    verbatim = found(folder / "verbmem", "forget")
    told = tuple(Item(row.text("prompt"), row.text("gt")) for row in rows(verbatim)) if verbatim else ()
    return Benchmark(
        f"MUSE {folder.name}",
        told or forget,
        retain,
        forget,
        passages=_texts(folder / "raw", "forget"),
        retained_passages=_texts(folder / "raw", "retain2", "retain1", "retain"),
        taught=True,
    )


def _items(folder: Path, side: str) -> tuple[Item, ...]:
    path = found(folder, f"{side}_qa") or (found(folder, f"{side}2_qa") if side == "retain" else None)
    path = path or needed(folder, f"{side}_qa")
    return tuple(Item(row.text("question"), row.text("answer")) for row in rows(path))


def _texts(folder: Path, *names: str) -> tuple[str, ...]:
    """The first of the files that is there."""
    for name in names:
        path = found(folder, name)
        if path:
            return tuple(row.text("text") for row in rows(path))
        if (folder / f"{name}.txt").is_file():
            return lines(folder / f"{name}.txt")
    return ()
