"""The web side never imports torch, the worker never imports fastapi: by what runs, and by what is written."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "transformers", "peft", "safetensors", "numpy"}
WEB = {"fastapi", "starlette", "uvicorn"}


def imported(folder: str) -> set[tuple[str, str]]:
    """Every (file, top-level package) that a folder's code imports anywhere, functions included."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            found |= {(str(path.relative_to(ROOT)), name.partition(".")[0]) for name in names}
    return found


def loaded_by(module: str) -> set[str]:
    """The packages in memory after importing a module in a process of its own."""
    script = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_web_side_is_written_without_torch():
    assert {entry for entry in imported("app") if entry[1] in HEAVY} == set()


def test_the_worker_is_written_without_fastapi():
    assert {entry for entry in imported("worker") if entry[1] in WEB} == set()


def test_the_check_by_reading_can_fail():
    assert {name for _, name in imported("worker")} >= {"torch", "celery"}


def test_the_web_side_runs_without_torch():
    packages = loaded_by("app.main")
    assert "fastapi" in packages
    assert packages & HEAVY == set()


def test_the_worker_runs_without_fastapi():
    packages = loaded_by("worker.tasks, worker.pipeline")
    assert "torch" in packages
    assert packages & WEB == set()


def test_a_worker_process_begins_without_waiting_for_torch():
    assert "torch" not in loaded_by("worker.tasks")
