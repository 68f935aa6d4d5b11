"""A deletion's progress as a bar on a terminal, and as lines anywhere else."""

from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.client import Deletion

STAGES = {
    "views": "phrasing the fact in other words",
    "neighbours": "finding what must stay",
    "unlearning": "recovering gradients and stepping along them",
    "compression": "compressing to one adapter",
    "evaluation": "asking again, with and without it",
    "publishing": "storing adapter and report",
}


def stage_label(now: Deletion) -> str:
    """What a deletion is doing, for people."""
    if now.cancel_requested and not now.settled:
        return "stopping at the next check"
    if now.waiting_for:
        again = ", as its last one has fallen silent" if now.status == "running" else ""
        what = "the artefact store" if now.waiting_for == "store" else f"a {now.waiting_for}"
        return f"waiting for {what}{again}"
    return f"{now.stage}: {STAGES.get(now.stage, '')}" if now.stage else now.status.replace("_", " ")


def shown(changes: Iterable[Deletion], console: Console) -> Deletion:
    """Show every change, and return how it ended."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    last: Deletion | None = None
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        for now in changes:
            label = stage_label(now)
            if not console.is_terminal and (last is None or stage_label(last) != label):
                console.print(f"{now.progress:4.0%} {label}")
            bar.update(task, completed=now.progress, description=label)
            last = now
    if last is None:
        raise AssertionError("a deletion that is watched is seen at least once")
    return last
