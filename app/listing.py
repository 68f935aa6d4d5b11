"""Pages of deletions: newest first, by keyset, so that new arrivals never shift what is being paged through."""

import base64
import binascii
import re
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import defer

from app import clock
from app.clock import DELETION_ID
from app.database import Database
from app.deadlines import Due, due
from app.errors import MalformedCursor
from app.models import Deletion, Status

HEAVY = [defer(column) for column in (Deletion.sealed_payload, Deletion.sealed_evidence)]  # that no list shows
_CURSOR = b"1:"  # the form of the cursor, to be able to change it


@dataclass(frozen=True)
class Filter:
    """Which deletions to list."""

    tenant: str
    status: Status | None = None
    model: str | None = None
    reference_hash: str | None = None
    subject_hash: str | None = None
    due: Due | None = None


def page(database: Database, wanted: Filter, limit: int, cursor: str | None) -> tuple[list[Deletion], str | None]:
    """Up to `limit` deletions after the cursor, and the cursor of the next page. Ids sort by the time of receipt."""
    own = Deletion.tenant == wanted.tenant if wanted.due is None else due(wanted.tenant, wanted.due, clock.now())
    query = select(Deletion.id).where(own)
    if wanted.status is not None:
        query = query.where(Deletion.status == wanted.status)
    if wanted.model is not None:
        query = query.where(Deletion.model == wanted.model)
    if wanted.reference_hash is not None:
        query = query.where(Deletion.reference_hash == wanted.reference_hash)
    if wanted.subject_hash is not None:
        query = query.where(Deletion.subject_hash == wanted.subject_hash)
    if cursor is not None:
        query = query.where(Deletion.id < _decode(cursor))
    # What is late or soon is sought by its due date and then sorted: a database that looks in the order of ids walks
    # through all that there is to find that nothing is late.
    order = Deletion.id + "" if wanted.due in (Due.OVERDUE, Due.SOON) else Deletion.id
    ids = query.order_by(order.desc()).limit(limit + 1)
    with database.read() as session:
        found = select(Deletion).options(*HEAVY).where(Deletion.id.in_(ids)).order_by(Deletion.id.desc())
        rows = list(session.scalars(found))
    more = len(rows) > limit
    return rows[:limit], _encode(rows[limit - 1].id) if more else None


def _encode(last: str) -> str:
    return base64.urlsafe_b64encode(_CURSOR + last.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        clear = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedCursor from error
    last = clear.removeprefix(_CURSOR).decode("ascii", "replace")
    if not clear.startswith(_CURSOR) or not re.fullmatch(DELETION_ID, last):
        raise MalformedCursor
    return last
