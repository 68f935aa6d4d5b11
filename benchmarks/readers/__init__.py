"""Readers of public unlearning benchmarks: a folder in the public format in, one frozen ``Benchmark`` out."""

from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.readers import blur, knowundo, lume, muse, rwku, tofu, waterdrum, wmdp
from benchmarks.readers.benchmark import BadBenchmark, Benchmark, Item

# by the name that a command takes; the text is the benchmark's part (TOFU's split, RWKU's target, WMDP's domain)
_READERS: Mapping[str, Callable[[Path, str | None], Benchmark]] = {
    "tofu": lambda folder, part: tofu.read(folder, part or "forget01"),
    "rwku": rwku.read,
    "wmdp": lambda folder, part: wmdp.read(folder, part or "bio"),
    "muse": lambda folder, part: muse.read(folder),
    "waterdrum": lambda folder, part: waterdrum.read(folder),
    "lume": lambda folder, part: lume.read(folder),
    "knowundo": lambda folder, part: knowundo.read(folder),
    "blur": lambda folder, part: blur.read(folder),
}
FORMATS = tuple(_READERS)


def read(form: str, folder: Path, part: str | None = None) -> Benchmark:
    """A benchmark from a folder.

    Raises:
        BadBenchmark: there is no such format or folder, or the files are not in it.
    """
    if form not in _READERS:
        raise BadBenchmark(f"There is no benchmark {form}; there are {', '.join(FORMATS)}.")
    if not folder.is_dir():
        raise BadBenchmark(f"{folder} is no folder.")
    return _READERS[form](folder, part)


__all__ = ["FORMATS", "BadBenchmark", "Benchmark", "Item", "read"]
