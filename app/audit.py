"""The audit log: what happened to which deletion, in ids and codes only, written in the transaction that did it.

The events are one chain over all tenants. Each carries a keyed hash over itself and over the hash before it; the head
says, under the same key, how many there are and what the last one's hash is. Who has no key can neither change an
event nor cut the chain short unseen. `app.audit_check` follows it.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import rfc8785
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app.models import AuditEvent, AuditHead

START = "0" * 64  # the hash before the first event
_PENDING = "audit events"
HEAD = AuditHead.id == 1  # the one row; any other was not written by this service
_HEAD = select(AuditHead.sequence, AuditHead.hash).where(HEAD).with_for_update()
_ADD = insert(AuditEvent)
_MOVE = update(AuditHead).where(HEAD)


@dataclass(frozen=True)
class _Pending:
    """An event that waits for the end of its transaction, when it gets its place in the chain."""

    tenant: str
    at: datetime
    actor: str
    action: str
    deletion_id: str | None
    details: dict[str, str | int]


def record(
    session: Session,
    at: datetime,
    tenant: str,
    actor: str,
    action: str,
    deletion_id: str | None = None,
    **details: str | int,
) -> None:
    """Add an event to the caller's transaction.

    Args:
        tenant: whose record it happened to.
        actor: a key's id, `local` without one, `operator` at the command line, `sweeper` or a worker's id.
        details: codes and counts; never anything that a request carried.
    """
    event = _Pending(tenant, at, actor, action, deletion_id, dict(details))
    session.info.setdefault(_PENDING, []).append(event)


class Journal:
    """Puts the events of a transaction into the chain, as the last thing before it commits.

    The head's row is what writers queue for, on PostgreSQL too, so the chain cannot fork. It is the last row that a
    transaction locks: nobody waits for it for longer than a commit, and never in a circle.

    Args:
        key: the chain's key; asked for before a transaction begins.
    """

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._key = key

    def prepare(self) -> None:
        """Have the key at hand."""
        self._key()

    def close(self, session: Session) -> None:
        """Chain what the transaction has recorded."""
        pending: list[_Pending] = session.info.pop(_PENDING, [])
        if not pending:
            return
        session.flush()
        connection, key = session.connection(), self._key()  # past the session, which would keep copies of the rows
        sequence, last = connection.execute(_HEAD).one()
        for event in pending:
            row = vars(event) | {"id": sequence + 1, "previous_hash": last}
            sequence, last = row["id"], event_hash(key, AuditEvent(**row))
            connection.execute(_ADD, row | {"hash": last})
        connection.execute(_MOVE, {"sequence": sequence, "hash": last, "mac": head_mac(key, sequence, last)})


def genesis(key: bytes) -> AuditHead:
    """The head of a log without events."""
    return AuditHead(id=1, sequence=0, hash=START, mac=head_mac(key, 0, START))


def event_hash(key: bytes, event: AuditEvent) -> str:
    """The keyed hash over everything in the row, in the canonical form of RFC 8785."""
    fields: dict[str, Any] = {
        "sequence": event.id,
        "tenant": event.tenant,
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": event.actor,
        "action": event.action,
        "deletion_id": event.deletion_id,
        "details": event.details,
        "previous_hash": event.previous_hash,
    }
    return hmac.digest(key, b"event\x00" + rfc8785.dumps(fields), "sha256").hex()


def head_mac(key: bytes, sequence: int, last: str) -> str:
    """The keyed hash over the log's length and end."""
    return hmac.digest(key, b"head\x00" + rfc8785.dumps({"sequence": sequence, "hash": last}), "sha256").hex()
