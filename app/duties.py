"""The only writer of the duties table: chores that one process at a time may do."""

from datetime import datetime, timedelta

from sqlalchemy import insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.database import Database
from app.models import Duty


def take(database: Database, name: str, owner: str, now: datetime, seconds: float) -> bool:
    """Take or renew a duty for so long; whether this owner has it."""
    try:
        return _take(database, name, owner, now, seconds)
    except IntegrityError:  # another thread made the very first row in the same moment: it may be this owner's
        return _take(database, name, owner, now, seconds)


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
