"""The audit log, as the service answers with it."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field

from app.audit_check import Fault, Verdict
from app.models import AuditEvent
from app.views import View


class AuditEventView(View):
    """Something that happened, in ids and codes."""

    sequence: int = Field(description="Its place in the log of all tenants.")
    at: datetime
    actor: str
    action: str
    deletion_id: str | None
    details: dict[str, str | int]
    previous_hash: str
    hash: str

    @classmethod
    def of(cls, row: AuditEvent) -> "AuditEventView":
        """The row as it was read."""
        return cls(
            sequence=row.id,
            at=row.at,
            actor=row.actor,
            action=row.action,
            deletion_id=row.deletion_id,
            details=row.details,
            previous_hash=row.previous_hash,
            hash=row.hash,
        )


class AuditPage(View):
    """Events, newest first."""

    items: list[AuditEventView]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")

    @classmethod
    def of(cls, rows: Sequence[AuditEvent], following: str | None) -> "AuditPage":
        """The rows as they were read."""
        return cls(items=[AuditEventView.of(row) for row in rows], next=following)


class AuditVerdict(View):
    """Whether the log is what was recorded."""

    intact: bool
    events: int = Field(description="How many hold, from the first one on.")
    head_sequence: int = Field(description="The last event that holds.")
    head_hash: str
    broken_at: int | None = Field(description="The number of the first event that does not hold.")
    fault: Fault | None = Field(description="What is wrong with it.")

    @classmethod
    def of(cls, verdict: Verdict) -> "AuditVerdict":
        """The verdict as it was reached."""
        return cls(
            intact=verdict.intact,
            events=verdict.events,
            head_sequence=verdict.head.sequence,
            head_hash=verdict.head.hash,
            broken_at=verdict.sequence,
            fault=verdict.fault,
        )
