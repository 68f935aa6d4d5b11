"""What the demo asks of the service beside what the client offers: whether its worker has loaded the model."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.calling import plainly
from app.client import Client, NotUnderstood, ServerFailed, Unreachable
from app.supervisor import WorkerNotReady

READY_POLL_SECONDS = 0.5
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Preparation:
    """What the worker was doing at one moment."""

    state: str
    detail: str | None


@contextmanager
def guarded(alive: Callable[[], None]) -> Iterator[None]:
    """Say plainly what went wrong; `alive` raises the better reason when the service behind the client has died."""
    with plainly():
        try:
            yield
        except Unreachable:
            alive()
            raise


def preparation(client: Client, model: str, patience: float, alive: Callable[[], None]) -> Iterator[Preparation]:
    """What the model's worker is doing, until it is ready; one that lives and loads may take its time.

    Raises:
        WorkerNotReady: for so many seconds there was no living worker.
    """
    until = time.monotonic() + patience
    while time.monotonic() < until:
        alive()
        now = _prepared(client, model)
        yield now
        if now.state in {"ready", "busy"}:
            return
        if now.state != "starting":
            until = time.monotonic() + patience
        time.sleep(READY_POLL_SECONDS)
    raise WorkerNotReady(f"There was no living worker for {model} for {patience:.0f} s.")


def _prepared(client: Client, model: str) -> Preparation:
    """A ready one of the model's workers, else any; the API itself may still be starting."""
    try:
        workers = client.readiness().workers
    except (Unreachable, NotUnderstood, ServerFailed):
        return Preparation("starting", None)
    mine = [worker for worker in workers if worker.model == model and worker.state != "stopped"]
    if not mine:
        return Preparation("starting", None)
    first = max(mine, key=lambda worker: worker.state in {"ready", "busy"})
    return Preparation(first.state, first.detail)
