"""The command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "app.cli"]


def environment_in(tmp_path: Path) -> dict[str, str]:
    """An environment whose service lives in a fresh folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("R2F_")}
    return {**clean, "R2F_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "200"}


def r2f(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=120)
