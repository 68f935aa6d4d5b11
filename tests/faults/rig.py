"""The service as it runs: API processes, Celery workers, a database behind a proxy, a broker; all real, all of our own.

Faults are done to it from outside. What the service promises is read from its database, its store and its HTTP.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from sqlalchemy import select

from app.database import Database
from app.models import AuditEvent, Deletion, Status, WorkerProcess
from app.settings import Settings
from app.supervisor import worker_command
from tests.conftest import FRANCE
from tests.faults.points import Points

if TYPE_CHECKING:
    from tests.faults.broker import RedisServer
    from tests.faults.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds that a condition may take on a busy machine before it counts as not met
_T = TypeVar("_T")


def environment(settings: Settings) -> dict[str, str]:
    """The settings as a process of the service reads them."""
    given = {name: value for name, value in settings if value is not None}
    if settings.master_key is not None:
        given["master_key"] = settings.master_key.get_secret_value()
    return {**os.environ, **{f"R2F_{name.upper()}": str(value) for name, value in given.items()}}


def eventually(wanted: Callable[[], _T | None], what: str, patience: float = PATIENCE) -> _T:
    """The first true answer."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if answer := wanted():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"still not: {what}")


class Rig:
    """A running service.

    Args:
        settings: what its processes are told.
        directly: URL that reaches the database past every fault; as the processes do if empty.
        redis: the broker, where it is a server of our own.
        proxy: what stands before the database, where there is a network.
        posted: the request that `submit` posts.
        variables: more of the environment of its processes.
    """

    worker_module = "tests.faults.worker"  # the Celery application that its workers run

    def __init__(
        self,
        settings: Settings,
        directly: str = "",
        redis: "RedisServer | None" = None,
        proxy: "Proxy | None" = None,
        posted: Mapping[str, Any] = FRANCE,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.posted = posted
        self.redis = redis
        self.proxy = proxy
        self.points = Points(settings.data_dir / "points")
        self.database = Database(directly or settings.database)
        self.urls: list[str] = []
        self.apis: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self._variables = dict(variables)
        self._logs = 0

    def start_api(self) -> str:
        """Start an API process and wait until it answers; returns its address."""
        command = [sys.executable, "-m", "app.cli", "serve", "--no-worker", "--port", "0"]
        process, log = self._start(command, "api")
        found = eventually(lambda: re.search(r"Listening on (http://\S+)", log.read_text()), "listening")
        self.apis.append(process)
        self.urls.append(found[1])
        eventually(lambda: self._answers(found[1]), "answering")
        return found[1]

    def start_worker(self, **more: str) -> subprocess.Popen[bytes]:
        """Start a worker; it takes up work as soon as it can."""
        command = worker_command()
        command[command.index("worker.tasks")] = self.worker_module
        process, _log = self._start(command, "worker", **more)
        self.workers.append(process)
        return process

    def staff(self, hands: int) -> None:
        """Have that many workers alive."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        for _ in range(hands - len(self.workers)):
            self.start_worker()

    def dismiss(self) -> None:
        """End every worker, without asking."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.workers = []

    def ready_workers(self) -> set[int]:
        """Process ids of the workers that have loaded and say so."""
        with suppress(httpx.HTTPError):
            seen = httpx.get(f"{self.urls[-1]}/readyz", timeout=5).json()
            return {row["pid"] for row in seen.get("workers", ()) if row["state"] == "ready"}
        return set()

    def await_idle(self, hands: int) -> None:
        """Wait for that many workers with nothing to do."""
        self.staff(hands)
        mine = {worker.pid for worker in self.workers}
        eventually(lambda: len(self.ready_workers() & mine) >= hands, f"{hands} workers ready")

    def submit(self, count: int = 1, url: str | None = None) -> list[str]:
        """Post deletions; the ids of those that were accepted."""
        made = []
        with httpx.Client(base_url=url or self.urls[-1], timeout=30) as caller:
            for _ in range(count):
                answer = caller.post("/deletions", json=dict(self.posted))
                answer.raise_for_status()
                made.append(answer.json()["id"])
        return made

    def row(self, deletion_id: str) -> Deletion:
        """The deletion as it is recorded."""
        with self.database.read() as session:
            found = session.get(Deletion, deletion_id)
        assert found is not None, f"{deletion_id} is gone"
        return found

    def holder(self, deletion_id: str) -> int | None:
        """Process id of the worker that runs it; None when nobody does."""
        held = select(WorkerProcess.pid).join(Deletion, Deletion.lease_owner == WorkerProcess.id)
        with self.database.read() as session:
            return session.scalar(held.where(Deletion.id == deletion_id, Deletion.status == Status.RUNNING))

    def events(self, deletion_id: str, *actions: str) -> list[datetime]:
        """When these things happened to it."""
        wanted = select(AuditEvent.at).where(AuditEvent.deletion_id == deletion_id, AuditEvent.action.in_(actions))
        with self.database.read() as session:
            return list(session.scalars(wanted.order_by(AuditEvent.at)))

    def await_status(self, deletion_id: str, *wanted: Status) -> Deletion:
        """Wait until it is so."""
        found = lambda: row if (row := self.row(deletion_id)).status in wanted else None  # noqa: E731
        try:
            return eventually(found, f"{deletion_id} {'/'.join(wanted)}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.row(deletion_id).status}\n{self.tail()}") from error

    def await_struck(self, point: str) -> tuple[int, float]:
        """Wait until a point has gone off: process id and time."""
        return eventually(lambda: self.points.struck(point), f"struck at {point}")

    def tail(self, lines: int = 40) -> str:
        """The ends of the logs."""
        logs = sorted(self.settings.data_dir.glob("*.log"))
        return "\n".join(f"== {log.name}\n" + "\n".join(log.read_text().splitlines()[-lines:]) for log in logs[-4:])

    def stop(self) -> None:
        """End every process."""
        self.dismiss()
        for api in self.apis:
            api.kill()
            api.wait()
        self.database.close()
        for part in (self.proxy, self.redis):
            if part is not None:
                part.stop()

    def _start(self, command: list[str], kind: str, **more: str) -> tuple[subprocess.Popen[bytes], Path]:
        self._logs += 1
        log = self.settings.data_dir / f"{kind}-{self._logs:03d}.log"
        told = environment(self.settings) | self._variables | more
        with log.open("wb") as file:
            process = subprocess.Popen(command, cwd=ROOT, env=told, stdout=file, stderr=subprocess.STDOUT)
        return process, log

    @staticmethod
    def _answers(url: str) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{url}/healthz", timeout=2).status_code == 200
        return False


def sleeping(pid: int) -> bool:
    """Whether a process has been stopped by SIGSTOP."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def quick(settings: Settings, **more: Any) -> Settings:
    """Short leases, so that the faults of a day fit into a minute; a deletion has as many runs as in the shipped form.

    The sweep is what recovery may take beyond the lease; Celery waits 2 s before it tries a broker again.
    """
    times = {"lease_seconds": 3.0, "heartbeat_seconds": 0.5, "sweep_seconds": 2.0, "backoff_seconds": 0.1}
    return settings.model_copy(update={**times, **more})
