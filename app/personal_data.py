"""What a request said, and how it is destroyed: with its key. Figures, receipts and keyed hashes stay."""

from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from app import audit
from app.models import Deletion

GONE: dict[str, Any] = {
    "wrapped_key": None,
    "key_epoch": None,
    "sealed_payload": None,
    "sealed_reference": None,
    "sealed_evidence": None,
}


def purge(session: Session, deletion_id: str, now: datetime, actor: str) -> None:
    """Destroy the request's key and what was sealed with it, unless that was done before."""
    gone = (
        update(Deletion).where(Deletion.id == deletion_id, Deletion.purged_at.is_(None)).values(**GONE, purged_at=now)
    )
    tenant = session.scalar(gone.returning(Deletion.tenant))
    if tenant is not None:
        audit.record(session, now, tenant, actor, "deletion.purged", deletion_id)
