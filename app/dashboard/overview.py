"""What the queue page shows: how many deletions wait, run and are late, and which ones run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app import clock
from app.database import Database
from app.deadlines import OWED, Due, due
from app.listing import HEAVY
from app.models import AuditEvent, Deletion, Status

MOST_RUNNING = 20


@dataclass(frozen=True)
class Overview:
    """The queue at one moment."""

    counts: Mapping[str, Mapping[Status, int]]  # by model
    overdue: int
    due_soon: int
    running: Sequence[Deletion]

    def total(self, status: Status) -> int:
        """Deletions with a status, of every model."""
        return sum(counts.get(status, 0) for counts in self.counts.values())


def overview(database: Database, tenant: str, models: Sequence[str]) -> Overview:
    """Count what is open. What has ended is not counted: it is the most by far, and nobody has to act on it."""
    now = clock.now()
    with database.read() as session:
        return Overview(
            counts=_counts(session, tenant, models),
            overdue=_count(session, due(tenant, Due.OVERDUE, now)),
            due_soon=_count(session, due(tenant, Due.SOON, now)),
            running=list(
                session.scalars(
                    select(Deletion)
                    .options(*HEAVY)
                    .where(Deletion.tenant == tenant, Deletion.model.in_(models), Deletion.status == Status.RUNNING)
                    .order_by(Deletion.id)
                    .limit(MOST_RUNNING)
                )
            ),
        )


def _counts(session: Session, tenant: str, models: Sequence[str]) -> Mapping[str, Mapping[Status, int]]:
    counts: dict[str, Counter[Status]] = {model: Counter() for model in models}
    wanted = (
        select(Deletion.model, Deletion.status, func.count())
        .where(Deletion.tenant == tenant, Deletion.model.in_(models), Deletion.status.in_(OWED))
        .group_by(Deletion.model, Deletion.status)
    )
    for model, status, count in session.execute(wanted):
        counts[model][status] = count
    return counts


def _count(session: Session, wanted: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(Deletion).where(wanted)) or 0


def events(database: Database, tenant: str, limit: int, before: int | None) -> Sequence[AuditEvent]:
    """What happened to a tenant's records before an event, newest first."""
    wanted = select(AuditEvent).where(AuditEvent.tenant == tenant)
    if before is not None:
        wanted = wanted.where(AuditEvent.id < before)
    with database.read() as session:
        return list(session.scalars(wanted.order_by(AuditEvent.id.desc()).limit(limit)))


def history(database: Database, deletion_id: str) -> Sequence[AuditEvent]:
    """What happened to a deletion, in order."""
    with database.read() as session:
        wanted = select(AuditEvent).where(AuditEvent.deletion_id == deletion_id).order_by(AuditEvent.id)
        return list(session.scalars(wanted))
