"""The only writer of the api_keys table: keys are made, found again by what a caller shows, and revoked.

A key reads `r2f_<id>_<secret>`. The id finds the row; the secret, 256 random bits, is shown once and kept as a keyed
hash, so that whoever reads the database can neither use a key nor make one.
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row, bindparam, select, update

from app import audit, clock
from app.access import Caller, Scope
from app.database import AWAY, Database
from app.errors import KeyNotFound
from app.models import ApiKey
from app.sealing import Sealer

_FORM = re.compile(r"^r2f_([0-9a-f]{16})_([0-9a-f]{64})$")
_COARSE = timedelta(hours=1)  # how exactly the last use is known: enough to find unused keys, and hardly a write
_ONE = select(ApiKey.id).limit(1)
_FIND = select(ApiKey.__table__).where(ApiKey.id == bindparam("key_id"))
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class NewKey:
    """A key that was just made, with the only copy of its secret."""

    id: str
    token: str


class Keys:
    """API keys."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer
        self._made = False  # once a key was made, that is so for good

    def create(self, tenant: str, name: str, scopes: frozenset[Scope], expires_at: datetime | None = None) -> NewKey:
        """Make a key.

        Args:
            name: what operators tell it by.
            expires_at: when it stops working; never if absent.
        """
        number, secret, now = secrets.token_hex(8), secrets.token_hex(32), clock.now()
        row = ApiKey(
            id=f"key_{number}",
            tenant=tenant,
            name=name,
            scopes=sorted(scopes),
            secret_hash=self._hash(f"key_{number}", secret),
            created_at=now,
            expires_at=expires_at,
        )
        with self._database.write() as session:
            session.add(row)
            audit.record(session, now, tenant, "operator", "key.created", key=row.id)
        return NewKey(row.id, f"r2f_{number}_{secret}")

    def all(self) -> list[ApiKey]:
        """Every key that was ever made, newest first."""
        with self._database.read() as session:
            return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id)))

    def any(self) -> bool:
        """Whether a key was ever made; a revoked one counts, so that revoking the last opens no door."""
        if not self._made:
            with self._database.read() as session:
                self._made = session.connection().scalar(_ONE) is not None
        return self._made

    def revoke(self, key_id: str) -> ApiKey:
        """End a key, and every session that was opened with it; raises KeyNotFound."""
        with self._database.write() as session:
            now = clock.now()
            row = session.get(ApiKey, key_id)
            if row is None:
                raise KeyNotFound
            if row.revoked_at is None:
                row.revoked_at = now
                audit.record(session, now, row.tenant, "operator", "key.revoked", key=row.id)
            return row

    def owner(self, token: str) -> Caller | None:
        """Whose key this is; None for one that is malformed, unknown, forged, expired or revoked."""
        form = _FORM.match(token)
        row = self._find(f"key_{form[1]}") if form else None
        if form is None or row is None or not hmac.compare_digest(self._hash(row.id, form[2]), row.secret_hash):
            return None
        return self._alive(row)

    def holder(self, key_id: str) -> Caller | None:
        """Who holds the key of this id; None when it is expired or revoked."""
        row = self._find(key_id)
        return self._alive(row) if row is not None else None

    def _find(self, key_id: str) -> Row[Any] | None:
        """Past the session: every call asks for a key, and needs no object that could be changed."""
        with self._database.read() as session:
            return session.connection().execute(_FIND, {"key_id": key_id}).one_or_none()

    def _alive(self, row: Row[Any]) -> Caller | None:
        now = clock.now()
        if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
            return None
        if row.last_used_at is None or row.last_used_at < now - _COARSE:
            self._note_use(row.id, now)
        return Caller(row.tenant, frozenset(Scope(scope) for scope in row.scopes), row.id)

    def _note_use(self, key_id: str, now: datetime) -> None:
        try:
            with self._database.write() as session:
                session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=now))
        except AWAY:  # or full: no reason to turn a caller away
            _log.warning("the use of a key was not noted")

    def _hash(self, key_id: str, secret: str) -> str:
        return self._sealer.fingerprint("api key", f"{key_id}\x00{secret}")
