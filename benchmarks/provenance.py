"""What made a table: the command, the versions, the machine."""

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "transformers", "peft")


def provenance() -> str:
    """One line of Markdown on the run at hand."""
    command = shlex.join(["r2f", *sys.argv[1:]])
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])
    return f"`{command}` at {_commit()}; {versions}; {_processor()}, {os.cpu_count()} cores."


def _commit() -> str:
    """The commit of the source, and whether files differ from it."""
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
