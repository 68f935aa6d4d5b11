"""The only writer of the duties table: chores that one process at a time may do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog
from sqlalchemy import insert, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app import clock
from app.database import Database
from app.models import Duty

_log = structlog.get_logger(__name__)


def take(database: Database, name: str, owner: str, now: datetime, seconds: float) -> bool:
    """Take or renew a duty for so long; whether this owner has it."""
    try:
        return _take(database, name, owner, now, seconds)
    except IntegrityError:  # another thread made the very first row in the same moment: it may be this owner's
        return _take(database, name, owner, now, seconds)


@contextmanager
def held(database: Database, name: str, owner: str, seconds: float) -> Iterator[bool]:
    """Whether this owner has a duty; if so it is renewed while the block lasts, and given back when it ends."""
    if not take(database, name, owner, clock.now(), seconds):
        yield False
        return
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(seconds / 3):
            try:
                take(database, name, owner, clock.now(), seconds)
            except SQLAlchemyError:
                _log.warning("a duty could not be renewed")  # the next third tries again

    renewer = threading.Thread(target=renew, name="renewer", daemon=True)
    renewer.start()
    try:
        yield True
    finally:
        ended.set()
        renewer.join()
        with database.write() as session:
            mine = update(Duty).where(Duty.name == name, Duty.owner == owner)
            session.execute(mine.values(expires_at=clock.now()))


def _take(database: Database, name: str, owner: str, now: datetime, seconds: float) -> bool:
    until = now + timedelta(seconds=seconds)
    free = or_(Duty.owner == owner, Duty.expires_at < now)
    renew = update(Duty).where(Duty.name == name, free).values(owner=owner, expires_at=until)
    with database.write() as session:
        if session.execute(renew.returning(Duty.name)).all():
            return True
        if session.scalar(select(Duty.name).where(Duty.name == name)):
            # somebody's, or made since the first look by another thread of this owner
            return bool(session.execute(renew.returning(Duty.name)).all())
        session.execute(insert(Duty).values(name=name, owner=owner, expires_at=until))
        return True
