"""WaterDrum (Lu et al., arXiv 2505.05064): watermarked texts whose owners want them forgotten.

A folder of one split (``forget_01`` …) with ``forget`` and ``retain``: records with a text, or with question and answer
in the variant made from TOFU. ``eval_knowmem/watermarked`` beside it, where it is there, asks about the texts.
"""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.readers.benchmark import Benchmark, Item
from benchmarks.readers.rows import Row, found, needed, rows


def read(folder: Path) -> Benchmark:
    """One split."""
    forget, retain = (list(rows(needed(folder, side))) for side in ("forget", "retain"))
    asked = found(folder.parent / "eval_knowmem", "watermarked")
    items = _items(forget)
    return Benchmark(
        f"WaterDrum {folder.name}",
        items,
        _items(retain),
        _items(rows(asked)) if asked else items,
        passages=_texts(forget),
        retained_passages=_texts(retain),
        taught=True,
    )


def _items(found_rows: Iterable[Row]) -> tuple[Item, ...]:
    return tuple(Item(row.text("question"), row.text("answer")) for row in found_rows if "question" in row.fields)


def _texts(found_rows: list[Row]) -> tuple[str, ...]:
    return tuple(row.text("text") for row in found_rows if "question" not in row.fields)
