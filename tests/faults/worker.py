"""`celery -A tests.faults.worker worker`: the real worker with points at which it can be struck.

Its pipeline walks through the stages without a model; with FAULTS_PIPELINE=real it is the service's own.
FAULTS_UNFENCED=1 takes the fencing away, to see that the checks would notice.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import update

from app import leases, storage
from app.models import Deletion
from app.settings import Settings
from tests.conftest import FakePipeline, HopelessError
from tests.faults.points import Action, Points
from worker import heartbeat, running, tasks
from worker.running import Method

celery = tasks.celery
points = Points(Settings().data_dir / "points", lambda: tasks._Host.process._database._turn)  # type: ignore[union-attr]


def _around(owner: Any, name: str, before: str | None = None, after: str | None = None) -> None:
    """Pass a point before and after a method."""
    inner: Callable[..., Any] = getattr(owner, name)

    def outer(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            points.reach(before)
        result = inner(*args, **kwargs)
        if after is not None:
            points.reach(after)
        return result

    setattr(owner, name, outer)


def _stages() -> None:
    """A point at the start of each stage, before it is recorded."""
    inner = heartbeat.LeaseCheckpoint.__call__

    def outer(self: Any, stage: Any, fraction: float) -> None:
        if stage is not self._stage:
            points.reach(stage)
        inner(self, stage, fraction)

    heartbeat.LeaseCheckpoint.__call__ = outer  # type: ignore[method-assign]


def _writes() -> None:
    """A point at each file that is written, and one before the folder appears in its place."""
    passed = 0
    put, write, sync = storage.FolderStore.put, storage._write, storage._sync

    def begin(*args: Any) -> Any:
        nonlocal passed
        passed = 0
        return put(*args)

    def torn(path: Path, content: bytes) -> None:
        nonlocal passed
        passed += 1
        if points.reach(f"write-{passed}") is Action.TEAR:
            path.write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, content)

    def synced(folder: Path) -> None:
        if folder.name.startswith("."):  # the draft is whole and not yet in its place
            points.reach("rename")
        sync(folder)

    storage.FolderStore.put = begin  # type: ignore[method-assign]
    storage._write, storage._sync = torn, synced


def _records() -> None:
    """Points around the claim and around the record of the end, and one inside its transaction."""
    _around(leases.Leases, "request", before="claimed")
    _around(running, "publish", after="stored")
    _around(leases.Leases, "finish", after="finished")
    _around(leases.Leases, "_evidence", after="finishing")


def _unfenced(claim: leases.Claim) -> Any:
    """What every write under a lease would be without its fence."""
    return update(Deletion).where(Deletion.id == claim.deletion_id)


def _fake(*_: Any) -> tuple[None, Method]:
    return None, Method(FakePipeline(), HopelessError)


_load = tasks._load


def _real(*given: Any) -> tuple[Any, Method]:
    """The service's own pipeline. A small model cannot forget without saying other things differently: it may."""
    loaded, method = _load(*given)
    from worker import pipeline

    strict = pipeline.config_of
    pipeline.config_of = lambda *asked: replace(strict(*asked), kl_budget=100.0)
    return loaded, method


_stages()
_writes()
_records()
if os.environ.get("FAULTS_UNFENCED"):
    leases._mine = _unfenced
tasks._load = _real if os.environ.get("FAULTS_PIPELINE") == "real" else _fake  # type: ignore[assignment]
