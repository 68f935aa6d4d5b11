"""RWKU (Jin et al., arXiv 2406.10890): real people whom a model knows.

Either the hub's files (``forget_level1`` … with a ``subject`` in every record), or the folder of one target with them.
Levels 1 to 3 of what must go: blanks, questions, attacks; levels 1 and 2 of neighbours that must stay.
"""

from pathlib import Path

from benchmarks.readers.benchmark import BadBenchmark, Benchmark, Item
from benchmarks.readers.rows import found, needed, rows


def read(folder: Path, target: str | None = None) -> Benchmark:
    """One target, or all that the files hold."""
    levels = [needed(folder, "forget_level1"), *(found(folder, f"forget_level{n}") for n in (2, 3))]
    near = [found(folder, f"neighbor_level{n}") for n in (1, 2)]
    passage = found(folder, "passage") or found(folder, "train_original_passage")
    questions = _items(levels, target)
    if not questions:
        raise BadBenchmark(f"{folder}: nothing is asked about {target}.")
    texts = tuple(row.text("text") for row in rows(passage) if _meant(row.texts("subject"), target)) if passage else ()
    return Benchmark(f"RWKU {target or folder.name}", questions, _items(near, target), questions, passages=texts)


def _items(paths: list[Path | None], target: str | None) -> tuple[Item, ...]:
    return tuple(
        Item(row.text("query"), row.text("answer"), subject=row.text("subject"))
        for path in paths
        if path is not None
        for row in rows(path)
        if _meant(row.texts("subject"), target)
    )


def _meant(subject: tuple[str, ...], target: str | None) -> bool:
    return target is None or target in subject
