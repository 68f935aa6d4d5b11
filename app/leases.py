"""The worker's side of the deletions table: claim, keep alive, and end, under a lease with a fencing token.

Every write but the claim says `WHERE lease_token = :mine`. Zero rows mean that somebody else owns the deletion now:
LeaseLost, and whatever was computed is thrown away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app import audit, clock
from app.database import Database
from app.errors import LeaseLost, RunCanceled, SealBroken
from app.models import Artefact, ArtefactKind, Deletion, Outcome, Stage, Status
from app.report import Report
from app.schemas import DeletionRequest
from app.sealing import Sealer
from app.settings import Settings
from app.storage import Stored
from app.transitions import TRANSITIONS, Event, progress

LONGEST_WAIT = 600.0  # seconds until a deferred deletion is tried again
_CLAIMED = (
    Deletion.id,
    Deletion.tenant,
    Deletion.lease_token,
    Deletion.attempt,
    Deletion.queued_at,
    Deletion.trace_parent,
)


@dataclass(frozen=True)
class Claim:
    """A deletion that this worker owns, as long as nobody has a higher token."""

    deletion_id: str
    tenant: str
    model: str
    owner: str
    token: int
    attempt: int
    queued_at: datetime | None = None  # since when it waited; None when it was taken over from a silent worker
    trace_parent: str | None = None  # the trace of the call that queued it


@dataclass(frozen=True)
class Completion:
    """What a run came to, ready to be recorded."""

    event: Event
    outcome: Outcome | None
    report: Report
    artefacts: Sequence[tuple[ArtefactKind, Stored]] = ()


def claimable(now: datetime, max_attempts: int) -> ColumnElement[bool]:
    """Which deletions a worker may take: those that wait, and those whose worker has gone silent."""
    waiting = and_(Deletion.status == Status.QUEUED, or_(Deletion.not_before.is_(None), Deletion.not_before <= now))
    orphaned = and_(
        Deletion.status == Status.RUNNING,
        Deletion.lease_expires_at < now,
        Deletion.attempt < max_attempts,
        Deletion.cancel_requested.is_(False),
    )
    # Said once more for the planner, which would walk through all that has ended to find what has not.
    unfinished = Deletion.status.in_((Status.QUEUED, Status.RUNNING))
    return and_(unfinished, or_(waiting, orphaned))


class Leases:
    """Leases on deletions."""

    def __init__(self, database: Database, sealer: Sealer, settings: Settings) -> None:
        self._database = database
        self._sealer = sealer
        self._length = timedelta(seconds=settings.lease_seconds)
        self._max_attempts = settings.max_attempts
        self._backoff = settings.backoff_seconds

    def claim(self, model: str, owner: str) -> Claim | None:
        """Take the oldest deletion of the model that may be taken: one UPDATE, so that one worker wins."""
        now = clock.now()
        oldest = (
            select(Deletion.id)
            .where(Deletion.model == model, claimable(now, self._max_attempts))
            .order_by(Deletion.id)
            .limit(1)
            .with_for_update(skip_locked=True)  # PostgreSQL; SQLite has locked the whole database already
            .scalar_subquery()
        )
        taken = (
            update(Deletion)
            .where(Deletion.id == oldest)
            .values(
                status=Status.RUNNING,
                stage=None,
                progress=0.0,
                attempt=Deletion.attempt + 1,
                lease_owner=owner,
                lease_token=Deletion.lease_token + 1,
                lease_expires_at=now + self._length,
                not_before=None,
                error_code=None,
                error_message=None,
                queued_at=case((Deletion.status == Status.QUEUED, Deletion.queued_at)),
                started_at=now,
                updated_at=now,
            )
            .returning(*_CLAIMED)
        )
        with self._database.write() as session:
            row = session.execute(taken).one_or_none()
            if row is None:
                return None
            claim = Claim(
                row.id, row.tenant, model, owner, row.lease_token, row.attempt, row.queued_at, row.trace_parent
            )
            _note(session, now, claim, "claimed", attempt=claim.attempt)
            return claim

    def waiting(self, model: str) -> str | None:
        """The id of the oldest deletion of the model that may be taken, if any."""
        with self._database.read() as session:
            wanted = select(Deletion.id).where(Deletion.model == model, claimable(clock.now(), self._max_attempts))
            return session.scalar(wanted.order_by(Deletion.id).limit(1))

    def request(self, claim: Claim) -> DeletionRequest:
        """Open the request; raises SealBroken when it was purged or sealed with another key."""
        with self._database.read() as session:
            row = session.get(Deletion, claim.deletion_id)
        if row is None or row.wrapped_key is None or row.sealed_payload is None:
            raise SealBroken("The request has been purged.")
        payload = self._sealer.open(row.wrapped_key, row.id, "payload", row.sealed_payload)
        return DeletionRequest.model_validate_json(payload)

    def renew(self, claim: Claim, stage: Stage | None = None, fraction: float = 0.0) -> None:
        """Keep the lease, and note progress if there is some; raises LeaseLost, or RunCanceled when that is wanted."""
        now = clock.now()
        changes: dict[str, Any] = {"lease_expires_at": now + self._length}
        if stage is not None:
            changes |= {"stage": stage, "progress": progress(stage, fraction), "updated_at": now}
        with self._database.write() as session:
            renewed = session.execute(_mine(claim).values(**changes).returning(Deletion.cancel_requested)).one_or_none()
        if renewed is None:
            raise LeaseLost
        if renewed.cancel_requested:
            raise RunCanceled

    def finish(self, claim: Claim, completion: Completion) -> None:
        """Record the end of a run with its report and artefacts; raises LeaseLost, or RunCanceled."""
        now = clock.now()
        status = TRANSITIONS[Status.RUNNING, completion.event]
        with self._database.write() as session:
            row = session.get(Deletion, claim.deletion_id)
            wrapped = row.wrapped_key if row is not None else None
            finished = (
                _mine(claim)
                .where(Deletion.cancel_requested.is_(False))
                .values(
                    status=status,
                    outcome=completion.outcome,
                    progress=1.0,
                    figures=completion.report.figures.model_dump(mode="json"),
                    sealed_evidence=self._evidence(wrapped, claim.deletion_id, completion.report),
                    lease_expires_at=None,
                    updated_at=now,
                    finished_at=None if status is Status.NEEDS_REVIEW else now,
                )
            )
            if not session.execute(finished.returning(Deletion.id)).all():
                raise self._why_not(session, claim)
            session.execute(delete(Artefact).where(Artefact.deletion_id == claim.deletion_id))
            session.add_all(_artefact(claim, kind, stored, now) for kind, stored in completion.artefacts)
            _note(session, now, claim, status)

    def fail(self, claim: Claim, code: str, message: str) -> None:
        """End a run that no further one can mend; raises LeaseLost.

        Args:
            message: shown to the caller; must hold no personal data.
        """
        self._end(claim, Event.FAIL, error_code=code[:64], error_message=message[:500])

    def canceled(self, claim: Claim) -> None:
        """End a run because that was asked for; raises LeaseLost."""
        self._end(claim, Event.CANCEL)

    def release(self, claim: Claim) -> None:
        """Give a run back at once, uncounted, because the worker shuts down; raises LeaseLost."""
        self._give_back(claim, "released", timedelta(0), {"attempt": Deletion.attempt - 1})

    def postpone(self, claim: Claim, message: str) -> bool:
        """Give a run back after an unexpected error; once the budget is spent, fail it. False if it was failed."""
        if claim.attempt >= self._max_attempts:
            self.fail(claim, "internal_error", message)
            return False
        wait = timedelta(seconds=self._backoff * 2 ** (claim.attempt - 1))
        self._give_back(claim, "postponed", wait, {}, attempt=claim.attempt)
        return True

    def defer(self, claim: Claim, code: str, message: str) -> None:
        """Give a run back, uncounted, because the artefact store failed it; each time for longer. Raises LeaseLost."""
        before = min(claim.token - claim.attempt, 32)  # runs that did not count
        wait = timedelta(seconds=min(self._backoff * 2**before, LONGEST_WAIT))
        told = {"error_code": code, "error_message": message, "attempt": Deletion.attempt - 1}
        self._give_back(claim, "deferred", wait, told, code=code)

    def recorded(self, claim: Claim) -> bool:
        """Whether artefacts of this very lease are on record: its `finish` went through, whatever the caller heard."""
        with self._database.read() as session:
            mine = select(Artefact.id).where(
                Artefact.deletion_id == claim.deletion_id, Artefact.lease_token == claim.token
            )
            return session.scalar(mine.limit(1)) is not None

    def end_orphans(self, now: datetime) -> list[tuple[str, int]]:
        """End what no worker will take over: canceled, or out of runs, with its lease expired. Ids and tokens."""
        orphan = and_(Deletion.status == Status.RUNNING, Deletion.lease_expires_at < now)
        canceled = (
            update(Deletion)
            .where(orphan, Deletion.cancel_requested)
            .values(
                status=Status.CANCELED, cancel_requested=False, lease_expires_at=None, updated_at=now, finished_at=now
            )
        )
        failed = (
            update(Deletion)
            .where(orphan, Deletion.attempt >= self._max_attempts)
            .values(
                status=Status.FAILED,
                cancel_requested=False,
                lease_expires_at=None,
                updated_at=now,
                finished_at=now,
                error_code="worker_lost",
                error_message=f"Its worker went silent in each of {self._max_attempts} runs.",
            )
        )
        ended: list[tuple[str, int]] = []
        with self._database.write() as session:
            for change, status in ((canceled, Status.CANCELED), (failed, Status.FAILED)):
                for row in session.execute(change.returning(Deletion.id, Deletion.tenant, Deletion.lease_token)).all():
                    audit.record(session, now, row.tenant, "sweeper", f"deletion.{status}", row.id)
                    ended.append((row.id, row.lease_token))
        return ended

    def next_expiry(self, since: datetime) -> datetime | None:
        """When the first lease since then runs out, or has, unless it is renewed."""
        expiry = Deletion.lease_expires_at
        with self._database.read() as session:
            return session.scalar(select(func.min(expiry)).where(Deletion.status == Status.RUNNING, expiry >= since))

    def stale(self, model: str, now: datetime, unchanged_since: datetime, limit: int) -> list[str]:
        """Ids of the model's deletions that may be taken but have not been since then, oldest first."""
        wanted = select(Deletion.id).where(
            Deletion.model == model, claimable(now, self._max_attempts), Deletion.updated_at < unchanged_since
        )
        with self._database.read() as session:
            return list(session.scalars(wanted.order_by(Deletion.id).limit(limit)))

    def _give_back(
        self, claim: Claim, what: str, wait: timedelta, values: Mapping[str, Any], **details: str | int
    ) -> None:
        """Queue the deletion again; what was canceled meanwhile ends, for nobody else would take notice of it."""
        now = clock.now()
        queued_again = {**_queued(now), "not_before": now + wait if wait else None, **values}
        back = _mine(claim).where(Deletion.cancel_requested.is_(False)).values(**queued_again)
        with self._database.write() as session:
            queued = session.execute(back.returning(Deletion.id)).all()
            if queued:
                _note(session, now, claim, what, **details)
        if not queued:
            self.canceled(claim)

    def _end(self, claim: Claim, event: Event, **values: str) -> None:
        now = clock.now()
        status = TRANSITIONS[Status.RUNNING, event]
        with self._database.write() as session:
            _execute(
                session,
                _mine(claim).values(
                    status=status,
                    cancel_requested=False,  # it ends here, whatever ended it
                    lease_expires_at=None,
                    updated_at=now,
                    finished_at=now,
                    **values,
                ),
            )
            _note(session, now, claim, status)

    def _evidence(self, wrapped: bytes | None, deletion_id: str, report: Report) -> bytes | None:
        """Seal what holds personal data; None once the request's key has been destroyed."""
        if wrapped is None or report.evidence is None:
            return None
        return self._sealer.seal(wrapped, deletion_id, "evidence", report.evidence.model_dump_json().encode())

    def _why_not(self, session: Session, claim: Claim) -> LeaseLost | RunCanceled:
        mine = _mine(claim).values(lease_owner=claim.owner).returning(Deletion.cancel_requested)
        row = session.execute(mine).one_or_none()
        return RunCanceled() if row is not None else LeaseLost()


def _mine(claim: Claim) -> Any:
    """An UPDATE that touches the deletion only while it runs under this very lease."""
    return update(Deletion).where(
        Deletion.id == claim.deletion_id,
        Deletion.lease_token == claim.token,
        Deletion.status == Status.RUNNING,
    )


def _execute(session: Session, change: Any) -> None:
    """Run an UPDATE that must touch a row; raises LeaseLost."""
    if not session.execute(change.returning(Deletion.id)).all():
        raise LeaseLost


def _note(session: Session, now: datetime, claim: Claim, what: str, **details: str | int) -> None:
    """Note in the audit log what the claim's owner did."""
    audit.record(session, now, claim.tenant, claim.owner, f"deletion.{what}", claim.deletion_id, **details)


def _queued(now: datetime) -> dict[str, Any]:
    """What a deletion looks like when its run has been given back."""
    status = TRANSITIONS[Status.RUNNING, Event.YIELD]
    waits = {"status": status, "stage": None, "progress": 0.0, "lease_expires_at": None}
    return waits | {"queued_at": now, "updated_at": now}


def _artefact(claim: Claim, kind: ArtefactKind, stored: Stored, now: datetime) -> Artefact:
    return Artefact(
        deletion_id=claim.deletion_id,
        kind=kind,
        name=stored.name,
        sha256=stored.sha256,
        size=stored.size,
        path=stored.path,
        lease_token=claim.token,
        created_at=now,
    )
