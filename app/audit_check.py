"""Follows the audit log from its start to its head, and names the first link that does not hold."""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.audit import START, event_hash, head_mac
from app.database import Database
from app.models import AuditEvent, AuditHead

BATCH = 1000
LOWEST = -(2**63)  # of what the column holds; the first event is number 1
# What a row raises that holds what was never recorded: no JSON, no date, a number beyond 2^53, NaN, bytes for a text.
UNREADABLE = (ValueError, TypeError, AttributeError, RecursionError)


class Fault(StrEnum):
    """What is wrong at the first broken link."""

    MISSING = "missing"  # there is no event of this number
    EDITED = "edited"  # the event is not what was recorded
    RELINKED = "relinked"  # the event does not follow the one before it
    TRUNCATED = "truncated"  # the log ends before its head says so
    UNACCOUNTED = "unaccounted"  # the log goes on behind its head, or begins before its first event
    FORGED_HEAD = "forged_head"  # the head was not written by this service
    NOT_THE_ANCHOR = "not_the_anchor"  # the event is another one than the caller has seen at this place


@dataclass(frozen=True)
class Anchor:
    """A place of the log as somebody has seen it before, for instance on a certificate."""

    sequence: int
    hash: str


@dataclass(frozen=True)
class Verdict:
    """How far the log holds."""

    events: int  # how many were checked and hold
    head: Anchor  # the last event that holds
    fault: Fault | None = None
    sequence: int | None = None  # the number of the first event that does not

    @property
    def intact(self) -> bool:
        """Whether the whole log is what was recorded."""
        return self.fault is None


def verify(database: Database, key: bytes, anchor: Anchor | None = None) -> Verdict:
    """Check every event, in one snapshot.

    Args:
        anchor: an event that must be in the log; without one, somebody who puts back an old copy of the whole log
            together with its head of that time is not found out.
    """
    with database.snapshot() as session:
        return _follow(session, key, anchor)


def _follow(session: Session, key: bytes, anchor: Anchor | None) -> Verdict:
    heads = session.scalars(select(AuditHead)).all()
    head = heads[0] if len(heads) == 1 and heads[0].id == 1 and isinstance(heads[0].sequence, int) else None
    last = Anchor(0, START)
    for event in _events(session):
        if isinstance(event, int):
            fault = Fault.EDITED if event <= last.sequence + 1 else Fault.MISSING
            return Verdict(last.sequence, last, fault, min(event, last.sequence + 1))
        if found := _fault(key, last, event, head, anchor):
            return Verdict(last.sequence, last, found, min(event.id, last.sequence + 1))
        last = Anchor(event.id, event.hash)
        session.expunge(event)
    return _end(key, last, head, anchor)


def _events(session: Session) -> Iterator[AuditEvent | int]:
    """Every event in order, up to the first row that cannot be read: of that its number."""
    after, size = LOWEST, BATCH
    while True:
        page = select(AuditEvent).where(AuditEvent.id > after).order_by(AuditEvent.id).limit(size)
        try:
            events = list(session.scalars(page))
        except (*UNREADABLE, DBAPIError):
            if size > 1:
                size = 1  # the ones before it
                continue
            # raises where it is the database's fault
            yield session.scalars(select(func.min(AuditEvent.id)).where(AuditEvent.id > after)).one()
            return
        if not events:
            return
        after = events[-1].id
        yield from events


def _fault(key: bytes, last: Anchor, event: AuditEvent, head: AuditHead | None, anchor: Anchor | None) -> Fault | None:
    """What is wrong with the event that is read after `last`."""
    if event.id < 1:
        return Fault.UNACCOUNTED
    if event.id != last.sequence + 1:
        return Fault.MISSING
    if not _holds(key, event):
        return Fault.EDITED
    if event.previous_hash != last.hash:
        return Fault.RELINKED
    if anchor is not None and anchor.sequence == event.id and anchor.hash != event.hash:
        return Fault.NOT_THE_ANCHOR
    if head is not None and event.id > head.sequence:
        return Fault.UNACCOUNTED
    return None


def _holds(key: bytes, event: AuditEvent) -> bool:
    try:
        return hmac.compare_digest(event_hash(key, event), event.hash)
    except UNREADABLE:
        return False


def _is_ours(key: bytes, head: AuditHead) -> bool:
    try:
        return hmac.compare_digest(head_mac(key, head.sequence, head.hash), head.mac)
    except UNREADABLE:
        return False


def _end(key: bytes, last: Anchor, head: AuditHead | None, anchor: Anchor | None) -> Verdict:
    """Whether the log ends where its head, and the caller, say."""
    fault = None
    if head is None or not _is_ours(key, head):
        fault = Fault.FORGED_HEAD
    elif last.sequence < head.sequence or (anchor is not None and last.sequence < anchor.sequence):
        fault = Fault.TRUNCATED
    elif last.hash != head.hash:
        fault = Fault.RELINKED
    return Verdict(last.sequence, last, fault, last.sequence + 1 if fault else None)
