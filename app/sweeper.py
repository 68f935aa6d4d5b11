"""The sweeper: rings again for work that nobody took, and ends what nobody will take.

A thread of every API process (a worker that computes cannot sweep); the duty row lets one of them do it at a time.
"""

import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import Protocol
from uuid import uuid4

import structlog

from app import clock, idempotency
from app.database import AWAY, Database
from app.duties import held, take
from app.errors import RingFailed
from app.leases import Leases
from app.models import WorkerState
from app.queue import Bell
from app.reconcile import reconcile
from app.settings import Settings
from app.storage import Store
from app.workers import Workers

DUTY = "sweep"
RECONCILING = "reconciling"  # held while it lasts
RECONCILE_TURN = "reconcile"  # held from one hour to the next
RECONCILE_SECONDS = 3600.0
HOLD_SECONDS = 60.0  # until others may take over from a process that died at it
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
        self._swept_at = clock.now()

    def sweep(self) -> bool:
        """Sweep, unless another process holds the duty; whether it was done."""
        now = self._swept_at = clock.now()
        if not take(self._database, DUTY, self._owner, now, self._settings.sweep_seconds):
            return False
        self._workers.sweep(now)
        for deletion_id, token in self._leases.end_orphans(now):
            _log.warning("deletion ended by the sweeper", deletion_id=deletion_id)
            self._store.delete(deletion_id, below=token + 1)
        with self._database.write() as session:
            idempotency.forget_older(session, now, self._settings.idempotency_hours)
        self._ring(now)
        return True

    def reconcile(self, *, starting: bool = False) -> bool:
        """Bring files and rows into line; takes as long as there are files. Whether it was done.

        Not while another process does it. Of the hourly turns one process has all; the others compare when they start.
        """
        now = clock.now()
        if not take(self._database, RECONCILE_TURN, self._owner, now, RECONCILE_SECONDS) and not starting:
            return False
        with held(self._database, RECONCILING, self._owner, HOLD_SECONDS) as mine:
            if mine:
                reconcile(self._database, self._store, self._settings, now)
            return mine

    def pause(self, usual: float) -> float:
        """Seconds until the next sweep: the usual time, or less where a lease runs out before."""
        expiry = self._leases.next_expiry(self._swept_at)
        return usual if expiry is None else min(max((expiry - clock.now()).total_seconds(), 0.0), usual)

    def _ring(self, now: datetime) -> None:
        """Ring for stale work, at most once per idle worker and sweep.

        A worker that loads or computes looks for work by itself as soon as it can; it must not find a heap of bells.
        """
        hands = Counter(one.model for one in self._workers.alive() if one.state is WorkerState.READY)
        since = now - timedelta(seconds=self._settings.sweep_seconds)
        for model, idle in hands.items():
            for deletion_id in self._leases.stale(model, now, since, limit=idle):
                try:
                    self._bell.ring(deletion_id, model)
                except RingFailed:
                    _log.warning("the broker does not answer")
                    return


class Chore(Protocol):
    """Something that is done again and again."""

    def sweep(self) -> bool:
        """One round."""
        ...

    def pause(self, usual: float) -> float:
        """Seconds until the next one."""
        ...


class ChoreThread:
    """Does a chore until told to stop."""

    def __init__(self, chore: Chore, seconds: float) -> None:
        """`seconds`: the usual pause between two rounds."""
        self._chore = chore
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(chore).__name__, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the round at hand."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            pause = self._seconds
            try:
                self._chore.sweep()
                pause = self._chore.pause(self._seconds)
            except AWAY:
                _log.warning("the database does not answer")
            except Exception:
                # The boundary of a chore that must outlive any single fault; the next round tries again.
                _log.exception("a sweep failed")
            if self._stop.wait(pause):
                return


class SweeperThread(ChoreThread):
    """Sweeps until told to stop, and reconciles beside that."""

    def __init__(self, sweeper: Sweeper, seconds: float, reconcile_seconds: float = RECONCILE_SECONDS) -> None:
        super().__init__(sweeper, seconds)
        self._sweeper = sweeper
        self._reconcile_seconds = reconcile_seconds
        self._reconciler = threading.Thread(target=self._reconcile, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        super().start()
        self._reconciler.start()

    def stop(self) -> None:
        """End after the sweep at hand."""
        super().stop()
        self._reconciler.join(timeout=10)

    def _reconcile(self) -> None:
        starting = True
        while True:
            try:
                if self._sweeper.reconcile(starting=starting):
                    starting = False
            except Exception:
                # The boundary of a chore: the next round tries again.
                _log.exception("files and rows could not be compared")
            if self._stop.wait(HOLD_SECONDS if starting else self._reconcile_seconds):
                return
