"""The service's own secrets, kept in the database under the present master key; and which epoch is the present one.

A secret outlives the master keys: rotation wraps it anew. What is wrapped here first is made once for each database.
"""

import secrets
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import audit, clock
from app.database import Database
from app.masterkeys import MasterKey, MasterKeys
from app.models import KeyEpoch, Secret
from app.settings import KEY_BYTES

FIRST = ("hashing", "audit")
_ROTATION = 0x5232465F726F7461  # the advisory lock of epochs, "R2F_rota"
_LOCK = select(func.pg_advisory_xact_lock(_ROTATION))
_SHARE = select(func.pg_advisory_xact_lock_shared(_ROTATION))
_PRESENT = select(KeyEpoch.id).where(KeyEpoch.retired_at.is_(None))


class Vault:
    """Secrets by name. What was unwrapped is remembered: secrets are replaced under new names, never changed."""

    def __init__(self, database: Database, keys: MasterKeys) -> None:
        self._database = database
        self._keys = keys
        self._clear: dict[str, bytes] = {}

    def secret(self, name: str) -> bytes:
        """The secret of that name; raises KeyError if there is none, KeyNotAtHand where its master key is not."""
        if name not in self._clear:
            if name in FIRST:
                self.found()
            with self._database.read() as session:
                self._clear[name] = self.passing(session, name)
        return self._clear[name]

    def passing(self, session: Session, name: str) -> bytes:
        """A secret that is not remembered, as the caller's transaction sees it: once destroyed, no process has it left.

        Raises:
            KeyError, KeyNotAtHand: see secret.
        """
        wrapped = session.scalar(select(Secret.wrapped).where(Secret.name == name))
        if wrapped is None:
            raise KeyError(name)
        return self._keys.unwrap(owner(name), wrapped)

    def check(self) -> None:
        """See that the present master key of this database is at hand; raises KeyNotAtHand."""
        with self._database.read() as session:
            epoch = session.scalar(select(KeyEpoch.id).where(KeyEpoch.retired_at.is_(None)))
        if epoch is not None:
            self._keys.of(epoch)

    def found(self) -> None:
        """Make the first epoch, the first secrets and the head of the audit log, unless there are any."""
        with self._database.read() as session:
            if session.scalar(select(KeyEpoch.id).limit(1)) is not None:
                return
        try:
            with self._database.transaction() as session:
                now = clock.now()
                hold(session, shared=False)
                if session.scalar(select(KeyEpoch.id).limit(1)) is None:
                    self._make(session, now)
        except IntegrityError:  # another process was faster
            return

    def _make(self, session: Session, now: datetime) -> None:
        session.add(KeyEpoch(id=self._keys.present.epoch, created_at=now))
        for name in FIRST:
            clear = secrets.token_bytes(KEY_BYTES)
            keep(session, self._keys.present, name, clear, now)
            if name == "audit":
                session.add(audit.genesis(clear))

    def destroy(self, session: Session, name: str) -> None:
        """Delete a secret in the caller's transaction. A copy of the database holds it until the next rotation."""
        session.execute(delete(Secret).where(Secret.name == name))
        self._clear.pop(name, None)


def owner(name: str) -> str:
    """What a wrapped secret is bound to."""
    return f"secret:{name}"


def keep(session: Session, key: MasterKey, name: str, clear: bytes, now: datetime) -> None:
    """Wrap a new secret and add it to the caller's transaction."""
    session.add(Secret(name=name, epoch=key.epoch, wrapped=key.wrap(owner(name), clear), created_at=now))


def present_epoch(session: Session) -> str:
    """The epoch that new keys are wrapped under; it stays the present one until the transaction ends."""
    hold(session, shared=True)
    return session.connection().scalars(_PRESENT).one()


def hold(session: Session, *, shared: bool) -> None:
    """Keep the present epoch from changing (shared), or everybody from using it, until the transaction ends.

    PostgreSQL only: SQLite's write lock has brought the writers into line already.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.connection().execute(_SHARE if shared else _LOCK)
