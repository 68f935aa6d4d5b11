"""The audit log: what happened to which deletion, written in the transaction that makes it happen.

Rows hold ids and codes only. The hash columns are for the chain over the rows.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from app.models import DEFAULT_TENANT, AuditEvent


def record(
    session: Session, at: datetime, actor: str, action: str, deletion_id: str | None = None, **details: str | int
) -> None:
    """Add an event to the caller's transaction.

    Args:
        actor: `api`, `operator`, `sweeper` or a worker's id.
        details: codes and counts; never anything that a request carried.
    """
    session.add(
        AuditEvent(
            tenant=DEFAULT_TENANT, at=at, actor=actor, action=action, deletion_id=deletion_id, details=dict(details)
        )
    )
