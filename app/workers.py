"""The only writer of the workers table: who serves which model, and whether it is alive."""

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update

from app import clock
from app.database import Database
from app.models import WorkerProcess, WorkerState
from app.settings import Settings

SILENT_BEATS = 3  # a worker that misses this many heartbeats counts as stopped
FORGOTTEN_AFTER = timedelta(days=1)


class Workers:
    """Worker processes, as they last reported."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._silence = timedelta(seconds=settings.heartbeat_seconds * SILENT_BEATS)

    def register(self, worker_id: str, model: str, host: str, pid: int, device: str) -> None:
        """A process has started and begins to load."""
        now = clock.now()
        with self._database.write() as session:
            session.add(
                WorkerProcess(
                    id=worker_id,
                    model=model,
                    host=host,
                    pid=pid,
                    device=device,
                    state=WorkerState.LOADING,
                    loaded={},
                    started_at=now,
                    heartbeat_at=now,
                )
            )

    def report(
        self,
        worker_id: str,
        state: WorkerState,
        loaded: dict[str, bool],
        detail: str | None = None,
        memory: int | None = None,
        device: str | None = None,
    ) -> None:
        """A process is alive, in this state, with this in so many bytes of memory, doing what `detail` says.

        Args:
            device: where it computes, once it knows; None leaves what it was registered with.
        """
        known = {} if device is None else {"device": device}
        with self._database.write() as session:
            session.execute(
                update(WorkerProcess)
                .where(WorkerProcess.id == worker_id)
                .values(
                    state=state, loaded=loaded, detail=detail, memory_bytes=memory, heartbeat_at=clock.now(), **known
                )
            )

    def known(self) -> list[WorkerProcess]:
        """Every process of the last day; a silent one shows as stopped."""
        oldest = clock.now() - self._silence
        with self._database.read() as session:
            rows = list(session.scalars(select(WorkerProcess).order_by(WorkerProcess.started_at.desc())))
        for row in rows:
            if row.heartbeat_at < oldest:
                row.state = WorkerState.STOPPED
        return rows

    def alive(self) -> list[WorkerProcess]:
        """Every process that is loading, ready or busy."""
        return [row for row in self.known() if row.state is not WorkerState.STOPPED]

    def sweep(self, now: datetime) -> None:
        """Note who has gone silent, and drop who has been gone for a day."""
        gone = WorkerProcess.heartbeat_at < now - self._silence
        with self._database.read() as session:
            stale = gone & (WorkerProcess.state != WorkerState.STOPPED) | (
                WorkerProcess.heartbeat_at < now - FORGOTTEN_AFTER
            )
            if not session.scalar(select(func.count()).select_from(WorkerProcess).where(stale)):
                return
        with self._database.write() as session:
            session.execute(update(WorkerProcess).where(gone).values(state=WorkerState.STOPPED))
            session.execute(delete(WorkerProcess).where(WorkerProcess.heartbeat_at < now - FORGOTTEN_AFTER))
