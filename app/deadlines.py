"""Due dates: a calendar month from receipt (GDPR article 12(3)), which two more may be added to, with a reason."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, and_

from app import clock
from app.models import Deletion, Status

MONTHS = 1
LONGEST_EXTENSION = 2
DISCHARGED = (Status.COMPLETED, Status.CANCELED)
OWED = tuple(status for status in Status if status not in DISCHARGED)  # what failed, or awaits a review, is owed still


class ExtensionReason(StrEnum):
    """Why a month is not enough; the law knows two reasons."""

    COMPLEXITY = "complexity"  # of the request
    NUMBER_OF_REQUESTS = "number_of_requests"  # from this person


def extended(received: datetime, months: int) -> datetime:
    """The due date with an extension: counted from receipt, so that a clamped month does not shorten it."""
    return clock.months_after(received, MONTHS + months)


def is_overdue(row: Deletion, now: datetime) -> bool:
    """Whether the deletion is owed and late; nothing is owed once its request was destroyed."""
    return row.status in OWED and row.purged_at is None and row.due_at < now


def overdue(now: datetime) -> ColumnElement[bool]:
    """The same, asked of the database."""
    return and_(Deletion.status.in_(OWED), Deletion.purged_at.is_(None), Deletion.due_at < now)
