"""Idempotency-Key (IETF draft-07): the same key and body stand for one deletion, however often they are sent."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.errors import IdempotencyKeyReused, MalformedIdempotencyKey, RequestInFlight
from app.models import IdempotencyKey
from app.schemas import Body
from app.sealing import Sealer

_QUOTED = re.compile(r'^"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"$')  # RFC 8941 string
_BARE = re.compile(r"^[\x21\x23-\x5b\x5d-\x7e]{1,255}$")  # what many clients send instead
_TAKE = {
    name: new.on_conflict_do_update(
        index_elements=["tenant", "key_hash"],
        set_={column: new.excluded[column] for column in ("fingerprint", "deletion_id", "created_at")},
        where=IdempotencyKey.created_at < bindparam("expired"),
    ).execution_options(preserve_rowcount=True)
    for name, new in (("postgresql", postgresql.insert(IdempotencyKey)), ("sqlite", sqlite.insert(IdempotencyKey)))
}
RETRY_SECONDS = "1"


def parse_key(values: list[str]) -> str | None:
    """The key in the header, quoted (as the draft says) or bare; None without one.

    Args:
        values: every value that the header was sent with.
    """
    if not values:
        return None
    if len(values) > 1:
        raise MalformedIdempotencyKey
    value = values[0].strip()
    quoted = _QUOTED.match(value)
    if quoted and quoted[1].strip():
        return quoted[1]
    if _BARE.match(value):
        return value
    raise MalformedIdempotencyKey


class Gate:
    """Lets one request per key through at a time and turns its twins away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: set[str] = set()

    @contextmanager
    def hold(self, key_hash: str) -> Iterator[None]:
        """Hold the key within this process."""
        with self._lock:
            if key_hash in self._inside:
                raise RequestInFlight(headers={"Retry-After": RETRY_SECONDS})
            self._inside.add(key_hash)
        try:
            yield
        finally:
            with self._lock:
                self._inside.discard(key_hash)


def fingerprint(sealer: Sealer, body: Body) -> str:
    """A keyed hash of what the caller means: whatever the order of its fields, and whether a default is said or not."""
    canonical = json.dumps(body.model_dump(mode="json"), sort_keys=True)
    return sealer.fingerprint("body", canonical)


def find(session: Session, tenant: str, key_hash: str, body_hash: str) -> str | None:
    """The deletion that this key stands for; raises IdempotencyKeyReused if the body differs."""
    row = session.get(IdempotencyKey, (tenant, key_hash))
    if row is None:
        return None
    if row.fingerprint != body_hash:
        raise IdempotencyKeyReused
    return row.deletion_id


def take(
    session: Session, tenant: str, key_hash: str, body_hash: str, deletion_id: str, at: datetime, expired: datetime
) -> bool:
    """Tie the key to its deletion, in the transaction that makes the deletion; whether it stood for none so far.

    One statement, so that of twins in several processes the later waits for the earlier to commit, and then sees it.

    Args:
        expired: a key from before that is free again.
    """
    connection = session.connection()
    values = {
        "tenant": tenant,
        "key_hash": key_hash,
        "fingerprint": body_hash,
        "deletion_id": deletion_id,
        "created_at": at,
        "expired": expired,
    }
    return connection.execute(_TAKE[connection.dialect.name], values).rowcount == 1


def forget_older(session: Session, now: datetime, hours: float) -> None:
    """Drop the keys whose time is over."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - timedelta(hours=hours)))
