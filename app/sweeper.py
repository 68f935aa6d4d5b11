"""The sweeper: rings again for work that nobody took, and ends what nobody will take.

A thread of every API process (a worker that computes cannot sweep); the duty row lets one of them do it at a time.
"""

import threading
from collections import Counter
from datetime import datetime, timedelta
from uuid import uuid4

import structlog
from sqlalchemy import insert, or_, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from app import clock, idempotency
from app.database import Database
from app.errors import RingFailed
from app.leases import Leases
from app.models import Duty
from app.queue import Bell
from app.settings import Settings
from app.storage import Store
from app.workers import Workers

DUTY = "sweep"
_log = structlog.get_logger(__name__)


class Sweeper:
    """One sweep at a time, by whichever process holds the duty."""

    def __init__(
        self, database: Database, leases: Leases, workers: Workers, store: Store, bell: Bell, settings: Settings
    ) -> None:
        self._database = database
        self._leases = leases
        self._workers = workers
        self._store = store
        self._bell = bell
        self._settings = settings
        self._owner = uuid4().hex

    def sweep(self) -> bool:
        """Sweep, unless another process holds the duty; whether it was done."""
        now = clock.now()
        if not self._take_duty(now):
            return False
        self._workers.sweep(now)
        for deletion_id, token in self._leases.end_orphans(now):
            _log.warning("deletion ended by the sweeper", deletion_id=deletion_id)
            self._store.delete(deletion_id, below=token + 1)
        with self._database.write() as session:
            idempotency.forget_older(session, now, self._settings.idempotency_hours)
        self._ring(now)
        return True

    def _take_duty(self, now: datetime) -> bool:
        """Take or renew the duty row for two sweeps' time."""
        until = now + timedelta(seconds=self._settings.sweep_seconds * 2)
        free = or_(Duty.owner == self._owner, Duty.expires_at < now)
        renew = update(Duty).where(Duty.name == DUTY, free).values(owner=self._owner, expires_at=until)
        try:
            with self._database.write() as session:
                if session.execute(renew.returning(Duty.name)).all():
                    return True
                if session.scalar(select(Duty.name).where(Duty.name == DUTY)):
                    return False
                session.execute(insert(Duty).values(name=DUTY, owner=self._owner, expires_at=until))
                return True
        except IntegrityError:  # another process made the very first row in the same moment
            return False

    def _ring(self, now: datetime) -> None:
        """Ring for stale work, at most once per live worker and sweep: a busy worker must not find a heap of bells."""
        hands = Counter(worker.model for worker in self._workers.alive())
        since = now - timedelta(seconds=self._settings.sweep_seconds)
        for deletion_id, model in self._leases.stale(now, since):
            if hands[model] == 0:
                continue
            hands[model] -= 1
            try:
                self._bell.ring(deletion_id, model)
            except RingFailed:
                _log.warning("the broker does not answer")
                return


class SweeperThread:
    """Sweeps until told to stop."""

    def __init__(self, sweeper: Sweeper, seconds: float) -> None:
        self._sweeper = sweeper
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def stop(self) -> None:
        """End after the sweep at hand."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            try:
                self._sweeper.sweep()
            except OperationalError:
                _log.warning("the database does not answer")
            except Exception:
                # The boundary of a chore that must outlive any single fault; the next sweep tries again.
                _log.exception("a sweep failed")
            if self._stop.wait(self._seconds):
                return
