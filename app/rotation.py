"""Rotation: a new master key takes over, what is alive is wrapped anew, and the old key is let go.

Whatever was purged before stays behind with the old key: no copy of the database of that time opens any more. Each step
can be repeated, so a rotation that was interrupted goes on where it was when it is run again.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import exists, or_, select, update
from sqlalchemy.orm import Session

from app import audit, clock
from app.access import DEFAULT_TENANT
from app.errors import R2FError
from app.masterkeys import read_key_file, remove_drafts, replace_key_file
from app.models import Deletion, KeyEpoch, Secret
from app.records import Records
from app.settings import KEY_BYTES, Settings
from app.vault import hold, owner

BATCH = 200
ACTOR = "operator"


class NotRotatable(R2FError):
    """The keys at hand do not fit a rotation."""


@dataclass(frozen=True)
class Rotated:
    """What a rotation came to."""

    epoch: str  # the present one
    rewrapped: int  # request keys that were wrapped anew by this call
    emptied: list[str]  # epochs that wrap nothing any more
    by_hand: bool  # the old key came from the environment: only its owner can destroy it


class Rotation:
    """Replaces the master key of a service, which may be running."""

    def __init__(self, records: Records, settings: Settings) -> None:
        self._database = records.database
        self._keys = records.keys
        self._vault = records.vault
        self._sealer = records.sealer
        self._file = settings.master_key_path if settings.master_key is None else None

    def run(self) -> Rotated:
        """Rotate, or finish a rotation; raises NotRotatable."""
        self._vault.found()
        with self._alone():
            self._have_two_keys()
            self._take_over()
            count = self._rewrap_secrets() + self._rewrap_requests()
            return Rotated(self._keys.present.epoch, count, self._let_go(), by_hand=self._file is None)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One rotation at a time may write the key file. Of one without a file, each step bears company."""
        if self._file is None:
            yield
            return
        handle = os.open(self._file.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            remove_drafts(self._file)
            yield
        finally:
            os.close(handle)

    def _have_two_keys(self) -> None:
        """The new key first, the present one beside it: made in the key file, or named in the environment."""
        self._keys.refresh()
        if self._file is not None:
            self._add_key(self._file)
        at_hand = {self._keys.present.epoch, *(key.epoch for key in self._keys.retiring)}
        with self._database.read() as session:
            needed = set(session.scalars(select(Secret.epoch).union(select(Deletion.key_epoch)))) - {None}
            known = session.get(KeyEpoch, self._keys.present.epoch)
        if known is not None and (not self._keys.retiring or known.retired_at is not None):
            raise NotRotatable(
                "Name a new key in R2F_MASTER_KEY and the present one in R2F_MASTER_KEY_RETIRING, for every process of "
                "the service; then rotate."
            )
        if missing := needed - at_hand:
            raise NotRotatable(
                f"The key of epoch {', '.join(sorted(missing))} is not at hand: name it in R2F_MASTER_KEY_RETIRING."
            )

    def _add_key(self, file: Path) -> None:
        keys = read_key_file(file)
        if len(keys) == 1:
            replace_key_file(file, [secrets.token_bytes(KEY_BYTES), *keys])
            self._keys.refresh()

    def _take_over(self) -> None:
        """From here on nothing new is wrapped by the old key, by whatever process."""
        new = self._keys.present.epoch
        with self._database.write() as session:
            hold(session, shared=False)
            if session.get(KeyEpoch, new) is not None:
                return
            now = clock.now()
            session.execute(update(KeyEpoch).where(KeyEpoch.retired_at.is_(None)).values(retired_at=now))
            session.add(KeyEpoch(id=new, created_at=now))
            audit.record(session, now, DEFAULT_TENANT, ACTOR, "epoch.begun", epoch=new)

    def _rewrap_secrets(self) -> int:
        new = self._keys.present
        with self._database.transaction() as session:
            old = select(Secret).where(Secret.epoch != new.epoch).with_for_update()  # a webhook may get a new key
            for row in (rows := list(session.scalars(old))):
                row.wrapped = new.wrap(owner(row.name), self._keys.unwrap(owner(row.name), row.wrapped))
                row.epoch = new.epoch
        return len(rows)

    def _rewrap_requests(self) -> int:
        done = 0
        while count := self._rewrap_some():
            done += count
        return done

    def _rewrap_some(self) -> int:
        """Wrap a few request keys anew; one that is purged meanwhile stays purged, as its row is locked."""
        new = self._keys.present.epoch
        with self._database.transaction() as session:
            wanted = select(Deletion.id, Deletion.wrapped_key).where(Deletion.key_epoch.in_(_old(session, new)))
            rows = session.execute(wanted.limit(BATCH).with_for_update()).all()
            for row in rows:
                wrapped = self._sealer.rewrap(row.wrapped_key, row.id, new)
                session.execute(
                    update(Deletion).where(Deletion.id == row.id).values(wrapped_key=wrapped, key_epoch=new)
                )
        return len(rows)

    def _let_go(self) -> list[str]:
        """Destroy the old key where it is ours to destroy, and note that nothing needs it any more."""
        new = self._keys.present.epoch
        with self._database.write() as session:
            hold(session, shared=False)
            old = _old(session, new)
            left = or_(exists().where(Deletion.key_epoch.in_(old)), exists().where(Secret.epoch.in_(old)))
            if session.scalar(select(left)):
                raise NotRotatable("Something is still wrapped by the old key; rotate once more.")
        if self._file is not None:
            replace_key_file(self._file, read_key_file(self._file)[:1])
            self._keys.refresh()
        with self._database.write() as session:
            now = clock.now()
            over = update(KeyEpoch).where(KeyEpoch.id.in_(old), KeyEpoch.destroyed_at.is_(None))
            emptied = list(session.scalars(over.values(destroyed_at=now).returning(KeyEpoch.id)))
            for epoch in emptied:
                audit.record(session, now, DEFAULT_TENANT, ACTOR, "epoch.emptied", epoch=epoch)
        return emptied


def _old(session: Session, new: str) -> list[str]:
    return list(session.scalars(select(KeyEpoch.id).where(KeyEpoch.id != new)))
