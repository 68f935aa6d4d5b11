"""The only writer of the deletions table: submit, cancel, retry, review; `app.leases` is its worker's side."""

import json
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app import audit, clock, idempotency, tracing
from app.access import Caller
from app.certificate import SALT, commit
from app.database import Database
from app.deadlines import DISCHARGED, ExtensionReason, extended
from app.errors import (
    AlreadyFinished,
    DeletionNotFound,
    NotExtendable,
    NotInReview,
    NotPurgeable,
    NotRetryable,
    Problem,
    ReportNotReady,
)
from app.models import Artefact, ArtefactKind, Callback, Deletion, Outcome, Status
from app.personal_data import purge
from app.report import Evidence, Figures, Report
from app.schemas import DeletionRequest
from app.sealing import Sealer
from app.settings import Settings
from app.storage import Store
from app.transitions import TRANSITIONS, Event
from app.vault import present_epoch
from app.webhooks.endpoints import subscribe

_ADD = insert(Deletion)
REJECTED = "rejected"
ENDED = (Status.COMPLETED, Status.FAILED, Status.CANCELED)  # no run needs the request any more


@dataclass(frozen=True)
class Accepted:
    """A deletion that was submitted, and whether this very call made it."""

    row: Deletion
    created: bool


class _Taken(Exception):
    """The Idempotency-Key stands for a deletion already: what was about to be written is taken back."""


class Deletions:
    """Deletions, as callers and operators change them."""

    def __init__(self, database: Database, sealer: Sealer, store: Store, settings: Settings) -> None:
        self._database = database
        self._sealer = sealer
        self._store = store
        self._remembered = timedelta(hours=settings.idempotency_hours)
        self._gate = idempotency.Gate()

    def submit(self, caller: Caller, request: DeletionRequest, key: str | None = None) -> Accepted:
        """Accept a request: deletion, idempotency row and audit event, all or none.

        Args:
            key: the Idempotency-Key; the deletion it stands for with this caller's API key is returned if there is one.
        """
        if key is None:
            with self._database.write() as session:
                return Accepted(self._insert(session, caller, request, clock.now()), created=True)
        with self._gate.hold(self._key_hash(caller, key)):
            while True:  # once, unless the key was found taken and is dropped for its age before it is looked up
                if accepted := self._new(caller, request, key) or self.known(caller, request, key):
                    return accepted

    def _new(self, caller: Caller, request: DeletionRequest, key: str) -> Accepted | None:
        """A deletion that was made for a key that stood for none; None, with nothing written, if it did.

        New keys are the rule, so that one statement serves them and a repeated one pays for it.
        """
        key_hash, body_hash = self._key_hash(caller, key), idempotency.fingerprint(self._sealer, request)
        with suppress(_Taken), self._database.write() as session:
            now = clock.now()
            row = self._insert(session, caller, request, now)
            if not idempotency.take(session, caller.tenant, key_hash, body_hash, row.id, now, now - self._remembered):
                raise _Taken
            return Accepted(row, created=True)
        return None

    def known(self, caller: Caller, request: DeletionRequest, key: str) -> Accepted | None:
        """The deletion that an Idempotency-Key stands for; raises IdempotencyKeyReused if the body differs."""
        body_hash = idempotency.fingerprint(self._sealer, request)
        with self._database.read() as session:
            known = idempotency.find(session, caller.tenant, self._key_hash(caller, key), body_hash)
            if known is None:
                return None
            tracing.note(deletion_id=known)
            return Accepted(_get(session, caller, known), created=False)

    def _key_hash(self, caller: Caller, key: str) -> str:
        """What a key is looked up by: it is the own one of whoever sent it."""
        return self._sealer.fingerprint("idempotency key", f"{caller.tenant}\x00{caller.actor}\x00{key}")

    def _insert(self, session: Session, caller: Caller, request: DeletionRequest, now: datetime) -> Deletion:
        """Write a queued deletion with its content sealed."""
        deletion_id = clock.new_deletion_id()
        epoch = present_epoch(session)
        wrapped = self._sealer.new_key(deletion_id, epoch)
        salt = self._sealer.derive(wrapped, deletion_id, SALT)
        reference, subject = request.reference, request.data_subject
        values = {
            "id": deletion_id,
            "tenant": caller.tenant,
            "model": request.model,
            "status": Status.QUEUED,
            "progress": 0.0,
            "attempt": 0,
            "cancel_requested": False,
            "approved": False,
            "lease_token": 0,
            "created_at": now,
            "updated_at": now,
            "queued_at": now,
            "trace_parent": tracing.here(),
            "due_at": clock.months_after(now),
            "legal_basis": request.legal_basis,
            "target_count": len(request.targets),
            "reference_hash": self.reference_hash(reference) if reference else None,
            "subject_hash": self.subject_hash(subject) if subject else None,
            "wrapped_key": wrapped,
            "key_epoch": epoch,
            "commitment": commit(salt, request.targets),
            "thresholds": request.thresholds.model_dump(mode="json"),
            "sealed_payload": self._sealer.seal(wrapped, deletion_id, "payload", request.model_dump_json().encode()),
            "sealed_reference": (
                self._sealer.seal(wrapped, deletion_id, "reference", reference.encode()) if reference else None
            ),
        }
        session.connection().execute(_ADD, values)  # past the session, whose flush takes longer than all the rest
        tracing.note(deletion_id=deletion_id)
        if request.callback_url is not None:
            subscribe(session, self._sealer, caller.tenant, deletion_id, request.callback_url)
        audit.record(
            session, now, caller.tenant, caller.actor, "deletion.accepted", deletion_id, targets=len(request.targets)
        )
        return Deletion(**values)

    def subject_hash(self, subject: str) -> str:
        """What a data subject is looked up by, however its name is spaced, composed and capitalised."""
        return self._sealer.fingerprint(
            "data subject", " ".join(unicodedata.normalize("NFKC", subject).casefold().split())
        )

    def reference_hash(self, reference: str) -> str:
        """What a reference is looked up by."""
        return self._sealer.fingerprint("reference", reference)

    def get(self, caller: Caller, deletion_id: str) -> Deletion:
        """The caller's deletion, or DeletionNotFound."""
        with self._database.read() as session:
            return _get(session, caller, deletion_id)

    def reference(self, row: Deletion) -> str | None:
        """The caller's case number; None without one, or once the request has been purged."""
        if row.sealed_reference is None or row.wrapped_key is None:
            return None
        return self._sealer.open(row.wrapped_key, row.id, "reference", row.sealed_reference).decode()

    def report(self, row: Deletion) -> Report:
        """The report with its evidence, as far as that has not been purged; raises ReportNotReady."""
        if row.figures is None:
            raise ReportNotReady(f"It is {row.status}.")
        evidence = None
        if row.sealed_evidence is not None and row.wrapped_key is not None:
            clear = self._sealer.open(row.wrapped_key, row.id, "evidence", row.sealed_evidence)
            evidence = Evidence.model_validate_json(clear)
        return Report(figures=Figures.model_validate_json(json.dumps(row.figures)), evidence=evidence)

    def artefacts(self, deletion_id: str, kind: ArtefactKind) -> list[Artefact]:
        """The artefacts of a deletion that are recorded."""
        with self._database.read() as session:
            wanted = select(Artefact).where(Artefact.deletion_id == deletion_id, Artefact.kind == kind)
            return list(session.scalars(wanted.order_by(Artefact.name)))

    def note_download(self, caller: Caller, deletion_id: str, name: str) -> None:
        """Log that an adapter left the house."""
        with self._database.write() as session:
            audit.record(
                session, clock.now(), caller.tenant, caller.actor, "adapter.downloaded", deletion_id, file=name
            )

    def cancel(self, caller: Caller, deletion_id: str) -> Deletion:
        """Cancel at once what waits; ask the worker of what runs."""
        with self._database.write() as session:
            now = clock.now()
            row = _get(session, caller, deletion_id, lock=True)
            if row.status is Status.RUNNING:
                if not row.cancel_requested:
                    row.cancel_requested, row.updated_at = True, now
                    audit.record(session, now, row.tenant, caller.actor, "deletion.cancel_requested", row.id)
                return row
            if row.status is Status.NEEDS_REVIEW:
                raise AlreadyFinished("Its run is over and it awaits a review: approve or reject it.")
            _move(row, Event.CANCEL, now, AlreadyFinished(f"It is {row.status} already."))
            row.finished_at = now
            audit.record(session, now, row.tenant, caller.actor, "deletion.canceled", row.id)
            return row

    def retry(self, caller: Caller, deletion_id: str) -> Deletion:
        """Queue a failed or canceled deletion once more, with a fresh budget of runs."""
        with self._database.write() as session:
            now = clock.now()
            row = _get(session, caller, deletion_id, lock=True)
            if row.purged_at is not None:
                raise NotRetryable("What it asked for has been purged.")
            _move(row, Event.RETRY, now, NotRetryable(f"It is {row.status}."))
            row.attempt, row.progress, row.stage, row.cancel_requested = 0, 0.0, None, False
            row.error_code = row.error_message = row.not_before = row.started_at = row.finished_at = None
            row.outcome = row.figures = row.sealed_evidence = None
            row.queued_at, row.trace_parent = now, tracing.here()
            tracing.note(deletion_id=row.id)
            audit.record(session, now, row.tenant, caller.actor, "deletion.retried", row.id)
            return row

    def extend(self, caller: Caller, deletion_id: str, months: int, reason: ExtensionReason) -> Deletion:
        """Move the due date to up to three months after receipt, once, while it has not passed."""
        with self._database.write() as session:
            now = clock.now()
            row = _get(session, caller, deletion_id, lock=True)
            if row.status in DISCHARGED:
                raise NotExtendable(f"It is {row.status} already.")
            if row.extension_months is not None:
                raise NotExtendable("It has been extended once.")
            if row.due_at < now:
                raise NotExtendable("It is overdue: an extension must be announced before the due date.")
            # who was told how it ended is not told so again
            told = update(Callback).where(Callback.deletion_id == row.id, Callback.told_at >= row.updated_at)
            session.execute(told.values(told_at=now))
            row.extension_months, row.extension_reason = months, reason
            row.due_at, row.updated_at = extended(row.created_at, months), now
            audit.record(
                session, now, row.tenant, caller.actor, "deletion.extended", row.id, months=months, reason=reason.value
            )
            return row

    def purge(self, caller: Caller, deletion_id: str) -> Deletion:
        """Destroy now what the request said; what runs or awaits a review needs it still."""
        with self._database.write() as session:
            now = clock.now()
            row = _get(session, caller, deletion_id, lock=True)
            if row.status not in ENDED:
                raise NotPurgeable(f"It is {row.status}.")
            purge(session, row.id, now, caller.actor)
            session.flush()
            session.refresh(row)
            return row

    def approve(self, caller: Caller, deletion_id: str) -> Deletion:
        """Publish an adapter that missed a threshold."""
        with self._database.write() as session:
            now = clock.now()
            row = _get(session, caller, deletion_id, lock=True)
            _move(row, Event.APPROVE, now, NotInReview(f"It is {row.status}."))
            row.outcome, row.approved, row.finished_at = Outcome.FORGOTTEN, True, now
            audit.record(session, now, row.tenant, caller.actor, "deletion.approved", row.id)
            return row

    def reject(self, caller: Caller, deletion_id: str) -> Deletion:
        """Refuse an adapter that missed a threshold, and delete it; the report stays."""
        with self._database.write() as session:
            now = clock.now()
            row = _get(session, caller, deletion_id, lock=True)
            _move(row, Event.REJECT, now, NotInReview(f"It is {row.status}."))
            row.error_code, row.error_message = REJECTED, "An operator rejected the adapter."
            row.finished_at = now
            for artefact in session.scalars(select(Artefact).where(Artefact.deletion_id == row.id)):
                session.delete(artefact)
            audit.record(session, now, row.tenant, caller.actor, "deletion.rejected", row.id)
        self._store.delete(deletion_id, below=row.lease_token + 1)
        return row


def _get(session: Session, caller: Caller, deletion_id: str, *, lock: bool = False) -> Deletion:
    """The caller's deletion or DeletionNotFound, with its row held until the transaction ends if it will change."""
    wanted = select(Deletion).where(Deletion.tenant == caller.tenant, Deletion.id == deletion_id)
    row = session.scalar(wanted.with_for_update() if lock else wanted)
    if row is None:
        raise DeletionNotFound
    return row


def _move(row: Deletion, event: Event, now: datetime, otherwise: Problem) -> None:
    """Follow the transition table, or raise `otherwise`."""
    following = TRANSITIONS.get((row.status, event))
    if following is None:
        raise otherwise
    row.status, row.updated_at = following, now
