"""What made a row and a table: the commit, the command, the versions, the machine."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "transformers", "peft")


def provenance(rows: Sequence[Mapping[str, object]]) -> str:
    """One line of Markdown on the run at hand, with the commits that its rows say they were measured at."""
    command = shlex.join(["r2f", *sys.argv[1:]])
    commits = list(dict.fromkeys(str(row["commit"]) for row in rows if "commit" in row)) or [commit()]
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])
    return f"`{command}` at {', '.join(commits)}; {versions}; {_processor()}, {os.cpu_count()} cores."


@cache
def commit() -> str:
    """The commit of the source, and whether files differ from it, when first asked for."""
    source = Path(__file__).resolve().parents[1]
    asked = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"version {version('recover-to-forget')}"
    return f"commit {found.stdout.strip()}"


def _processor() -> str:
    """The processor's name, as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
