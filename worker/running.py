"""One deletion from claim to record, around whatever pipeline it is given."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog
from opentelemetry.trace import SpanKind

from app import clock, tracing
from app.database import AWAY
from app.errors import KeyNotAtHand, LeaseLost, NoDiskSpace, RunCanceled, RunStopped, SealBroken, StoreUnavailable
from app.leases import Claim, Leases
from app.models import Stage
from app.schemas import DeletionRequest
from app.storage import Store
from worker.heartbeat import Heartbeat, LeaseCheckpoint
from worker.publish import Result, publish

PATIENCE = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between tries to record what took a minute to compute
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


class Run(Protocol):
    """The pipeline: what `worker.pipeline.run` is."""

    def __call__(self, request: DeletionRequest, loaded: Any, checkpoint: LeaseCheckpoint) -> Result:
        """Make the model forget; calls the checkpoint between its steps."""
        ...


@dataclass(frozen=True)
class Method:
    """A pipeline and the error by which it says that no further run can mend a failure."""

    run: Run
    hopeless: type[Exception]  # with a `code` and a message without personal data


class Runner:
    """Runs deletions of one model, one at a time."""

    def __init__(
        self, model: str, loaded: Any, method: Method, leases: Leases, store: Store, heartbeat: Heartbeat
    ) -> None:
        self._model = model
        self._loaded = loaded
        self._method = method
        self._leases = leases
        self._store = store
        self._heartbeat = heartbeat

    def work(self) -> Claim | None:
        """Claim the next deletion of the model and run it to its end; None when there is nothing to do.

        Raises:
            KeyNotAtHand: this process can open no request; the deletion is in the queue again.
        """
        claim = self._leases.claim(self._model, self._heartbeat.worker_id)
        if claim is None:
            return None
        began = time.monotonic()
        if claim.queued_at is not None and claim.trace_parent is not None:
            tracing.past("wait", claim.trace_parent, claim.queued_at, clock.now())
        about: dict[str, Any] = {"deletion_id": claim.deletion_id, "attempt": claim.attempt, "worker": claim.owner}
        with tracing.span("run", SpanKind.CONSUMER, claim.trace_parent, model=claim.model, **about):
            log = _log.bind(**about)
            log.info("deletion claimed", token=claim.token)
            code = self._end(claim)
            log.info("run ended", code=code, seconds=round(time.monotonic() - began, 2))
            tracing.note(code=code)
        return claim

    def _end(self, claim: Claim) -> str:
        """Run the claim while its lease is kept alive, and say in a word how it ended."""
        with self._heartbeat.busy(claim):
            try:
                return self._run(claim)
            except LeaseLost:
                if not self._leases.recorded(claim):
                    self._discard(claim)
                return "lease_lost"

    def _run(self, claim: Claim) -> str:
        """Run the claim and record how it ended, in a word; raises LeaseLost, or KeyNotAtHand."""
        try:
            with LeaseCheckpoint(self._heartbeat, self._leases, claim) as checkpoint:
                request = _patiently(lambda: self._leases.request(claim))
                result = self._method.run(request, self._loaded, checkpoint)
                checkpoint(Stage.PUBLISHING, 0.0)
                completion = _patiently(lambda: publish(result, claim, self._store))
                _patiently(lambda: self._leases.finish(claim, completion))
            self._store.delete(claim.deletion_id, below=claim.token)
            return completion.event
        except LeaseLost:
            raise
        except RunCanceled:
            self._leases.canceled(claim)
            self._discard(claim)
            return "canceled"
        except RunStopped:
            self._heartbeat.hand_back(claim)
            self._discard(claim)
            return "released"
        except KeyNotAtHand:
            self._heartbeat.hand_back(claim)
            self._discard(claim)
            raise
        except SealBroken:
            return self._fail(claim, "request_unreadable", "The request has been purged, or its record is damaged.")
        except (NoDiskSpace, StoreUnavailable) as error:
            # The deletion is not at fault: it stays owed, and runs again once there is a place for what it makes.
            code = error.slug().replace("-", "_")
            _log.error("nothing can be stored", deletion_id=claim.deletion_id, code=code, reason=str(error))
            _patiently(lambda: self._leases.defer(claim, code, "What it made could not be stored. It runs again."))
            self._discard(claim)
            return code
        except self._method.hopeless as error:
            return self._fail(claim, str(getattr(error, "code", "failed")), str(error))
        except Exception as error:
            # The boundary of a run: another one may go better. The message may quote the request, its type does not.
            _log.exception("the run failed", deletion_id=claim.deletion_id, attempt=claim.attempt)
            name = type(error).__name__
            again = _patiently(lambda: self._leases.postpone(claim, f"The run failed unexpectedly ({name})."))
            self._discard(claim)
            return "postponed" if again else "failed"

    def _fail(self, claim: Claim, code: str, message: str) -> str:
        self._leases.fail(claim, code, message)
        self._discard(claim)
        return code

    def _discard(self, claim: Claim) -> None:
        """Delete what this run stored, and what earlier ones left behind."""
        self._store.delete(claim.deletion_id, below=claim.token + 1)


def _patiently(action: Callable[[], _T]) -> _T:
    """Try again while the database or the store is away; the last try's error is raised."""
    for pause in PATIENCE:
        try:
            return action()
        except (*AWAY, StoreUnavailable) as error:
            _log.warning("the database or the store does not answer", reason=type(error).__name__)
            time.sleep(pause)
    return action()
