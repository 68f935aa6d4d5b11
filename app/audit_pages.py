"""Pages of the audit log, newest first."""

import base64
import binascii
import re

from sqlalchemy import select

from app.database import Database
from app.errors import MalformedCursor
from app.models import AuditEvent

_CURSOR = re.compile(r"a1:([1-9][0-9]{0,15})")


def page(
    database: Database, tenant: str, deletion_id: str | None, limit: int, cursor: str | None
) -> tuple[list[AuditEvent], str | None]:
    """Up to `limit` of a tenant's events after the cursor, and the cursor of the next page."""
    query = select(AuditEvent).where(AuditEvent.tenant == tenant)
    if deletion_id is not None:
        query = query.where(AuditEvent.deletion_id == deletion_id)
    if cursor is not None:
        query = query.where(AuditEvent.id < _decode(cursor))
    with database.read() as session:
        rows = list(session.scalars(query.order_by(AuditEvent.id.desc()).limit(limit + 1)))
    more = len(rows) > limit
    return rows[:limit], _encode(rows[limit - 1].id) if more else None


def _encode(last: int) -> str:
    return base64.urlsafe_b64encode(f"a1:{last}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> int:
    try:
        clear = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedCursor from error
    found = _CURSOR.fullmatch(clear.decode("ascii", "replace"))
    if found is None:
        raise MalformedCursor
    return int(found[1])
