"""The worker's pulse: a thread that keeps the worker's row and its lease alive, and hears what has changed.

A thread, because the process computes for a minute at a time; tensors let go of the interpreter's lock meanwhile.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Self

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app import tracing
from app.errors import LeaseLost, RunCanceled, RunStopped, UnsafeKey
from app.leases import Claim, Leases
from app.models import Stage, WorkerState
from app.workers import Workers
from worker.memory import device, held

PROGRESS_SECONDS = 1.0  # least time between two records of progress within a stage
_log = structlog.get_logger(__name__)


class Heartbeat:
    """Beats from `start` to `stop`; what it hears about the run at hand is raised by the next `check`.

    Args:
        handed_back: called with a claim that went back to the queue because the process shall end.
        refresh_keys: called at every beat, to let go of a master key that was rotated away.
    """

    def __init__(
        self,
        workers: Workers,
        leases: Leases,
        worker_id: str,
        seconds: float,
        handed_back: Callable[[Claim], None] = lambda claim: None,
        refresh_keys: Callable[[], None] = lambda: None,
    ) -> None:
        self.worker_id = worker_id
        self.leaving = False
        self._workers = workers
        self._leases = leases
        self._seconds = seconds
        self._handed_back = handed_back
        self._refresh_keys = refresh_keys
        self._state = WorkerState.LOADING
        self._loaded: dict[str, bool] = {}
        self._detail: str | None = None
        self._device: str | None = None
        self._claim: Claim | None = None
        self._heard: LeaseLost | RunCanceled | None = None
        self._ended = threading.Event()
        self._calls: SimpleQueue[None] = SimpleQueue()  # wakes the thread; its `put` is safe in a signal handler
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """End, and report the worker as stopped."""
        self._ended.set()
        self._calls.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._state, self._loaded = WorkerState.STOPPED, {}
        self._report()

    def leave(self) -> None:
        """The process shall end: the run at hand goes back to the queue at once, whatever it is in the middle of."""
        self.leaving = True
        self._calls.put(None)

    def hand_back(self, claim: Claim) -> None:
        """Give a run back to the queue; what it still computes is fenced off."""
        try:
            self._leases.release(claim)
        except LeaseLost:  # the thread has done so already, or the run has ended
            return
        except SQLAlchemyError:
            _log.warning("the database does not answer", worker=self.worker_id, deletion_id=claim.deletion_id)
            return
        _log.info("run handed back", worker=self.worker_id, deletion_id=claim.deletion_id)
        self._handed_back(claim)

    def doing(self, detail: str) -> None:
        """Report what a loading worker is doing."""
        self._detail = detail
        self._report()

    def ready(self, loaded: dict[str, bool]) -> None:
        """Report that everything is in memory."""
        self._state, self._loaded, self._detail, self._device = WorkerState.READY, loaded, None, device()
        self._report()

    @contextmanager
    def busy(self, claim: Claim) -> Iterator[None]:
        """Keep the claim's lease while the context lasts."""
        self._claim, self._heard, self._state = claim, None, WorkerState.BUSY
        self._report()
        try:
            yield
        finally:
            self._claim, self._state = None, WorkerState.READY
            self._report()

    def check(self) -> None:
        """Raise RunStopped, or the LeaseLost or RunCanceled that a beat has met."""
        if self.leaving:
            raise RunStopped
        if self._heard is not None:
            raise self._heard

    def _run(self) -> None:
        while not self._ended.is_set():
            with suppress(Empty):
                self._calls.get(timeout=self._seconds)
            claim = self._claim
            if claim is not None and self.leaving:
                self.hand_back(claim)
            elif claim is not None:
                self._renew(claim)
            self._report()
            self._refresh()

    def _renew(self, claim: Claim) -> None:
        try:
            self._leases.renew(claim)
        except (LeaseLost, RunCanceled) as news:
            if self._claim is claim:
                self._heard = news
        except SQLAlchemyError:
            # The lease may outlast the fault; if not, the token keeps this run from overwriting the next one's.
            _log.warning("the database does not answer", worker=self.worker_id, deletion_id=claim.deletion_id)

    def _refresh(self) -> None:
        try:
            self._refresh_keys()
        except (OSError, ValueError, UnsafeKey) as error:
            _log.warning("the master keys cannot be read", worker=self.worker_id, reason=type(error).__name__)

    def _report(self) -> None:
        try:
            self._workers.report(self.worker_id, self._state, self._loaded, self._detail, held(), self._device)
        except SQLAlchemyError:
            _log.warning("the database does not answer", worker=self.worker_id)


class LeaseCheckpoint:
    """What a pipeline calls between its steps: records progress, and ends the run where it must end."""

    def __init__(self, heartbeat: Heartbeat, leases: Leases, claim: Claim) -> None:
        self._heartbeat = heartbeat
        self._leases = leases
        self._claim = claim
        self._stage: Stage | None = None
        self._recorded = 0.0
        self._steps = tracing.Steps()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Break off the stage at hand, or end the last."""
        self._steps.end(None if kind is None else kind.__name__)

    def __call__(self, stage: Stage, fraction: float) -> None:
        """Record that `fraction` of a stage is done; raises RunCanceled, RunStopped or LeaseLost."""
        self._heartbeat.check()
        now = time.monotonic()
        if stage is self._stage and now - self._recorded < PROGRESS_SECONDS:
            return
        if stage is not self._stage:
            _log.info("stage", deletion_id=self._claim.deletion_id, stage=stage)
            self._steps.begin(stage)
        self._stage, self._recorded = stage, now
        try:
            self._leases.renew(self._claim, stage, fraction)
        except SQLAlchemyError:
            _log.warning("the database does not answer", deletion_id=self._claim.deletion_id)
