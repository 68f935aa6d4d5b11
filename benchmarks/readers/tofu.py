"""TOFU (Maini et al., arXiv 2401.06121): questions about authors who never were.

A folder with ``forget01``, ``forget05`` or ``forget10``, its ``_perturbed`` form, and ``retain99``, ``95`` or ``90``.
"""

from pathlib import Path

from benchmarks.readers.benchmark import Benchmark, Item
from benchmarks.readers.rows import found, needed, rows

SPLITS = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}


def read(folder: Path, split: str = "forget01") -> Benchmark:
    """One forget set with what must stay; retain90 is part of the larger retain sets and stands in for them."""
    forget = _items(needed(folder, split))
    asked = found(folder, f"{split}_perturbed")
    retain = found(folder, SPLITS.get(split, "retain90")) or needed(folder, "retain90")
    return Benchmark(f"TOFU {split}", forget, _items(retain), _items(asked) if asked else forget, taught=True)


def _items(path: Path) -> tuple[Item, ...]:
    return tuple(
        Item(
            row.text("question"),
            row.text("answer"),
            paraphrases=row.texts("paraphrased_answer"),
            wrong=row.texts("perturbed_answer"),
        )
        for row in rows(path)
    )
