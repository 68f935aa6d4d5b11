"""Folders for what only the service may read."""

from pathlib import Path


def make_private(folder: Path) -> None:
    """Make a folder and whichever of its parents are missing, each for its owner alone; raises OSError."""
    if not folder.parent.exists():
        make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
