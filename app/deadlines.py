"""Due dates: a calendar month from receipt (GDPR article 12(3)), which two more may be added to, with a reason."""

from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, not_

from app import clock
from app.models import Deletion, Status

MONTHS = 1
LONGEST_EXTENSION = 2
SOON = timedelta(days=7)
DISCHARGED = (Status.COMPLETED, Status.CANCELED)
OWED = tuple(status for status in Status if status not in DISCHARGED)  # what failed, or awaits a review, is owed still


class ExtensionReason(StrEnum):
    """Why a month is not enough; the law knows two reasons."""

    COMPLEXITY = "complexity"  # of the request
    NUMBER_OF_REQUESTS = "number_of_requests"  # from this person


class Due(StrEnum):
    """How a deletion stands to its due date."""

    OVERDUE = "overdue"  # it is owed, and late
    SOON = "soon"  # it is owed, and will be late within a week
    NOT_OVERDUE = "not_overdue"  # it is not late, or no longer owed


def extended(received: datetime, months: int) -> datetime:
    """The due date with an extension: counted from receipt, so that a clamped month does not shorten it."""
    return clock.months_after(received, MONTHS + months)


def is_overdue(row: Deletion, now: datetime) -> bool:
    """Whether the deletion is owed and late; nothing is owed once its request was destroyed."""
    return row.status in OWED and row.purged_at is None and row.due_at < now


def overdue(now: datetime) -> ColumnElement[bool]:
    """The same, asked of the database."""
    return and_(Deletion.status.in_(OWED), Deletion.purged_at.is_(None), Deletion.due_at < now)


def due(tenant: str, how: Due, now: datetime) -> ColumnElement[bool]:
    """Which of a tenant's deletions stand like that to their due dates.

    The index of due dates has all that is asked of what is late or soon, so that no row need be read. There the
    tenant's name is no bare column, or SQLite would take the index of tenants and read every row.
    """
    if how is Due.NOT_OVERDUE:
        return and_(Deletion.tenant == tenant, not_(overdue(now)))
    owed = and_(overdue(now + SOON), Deletion.due_at >= now) if how is Due.SOON else overdue(now)
    return and_(owed, Deletion.tenant + "" == tenant)
