"""Tells open event streams what has changed: one look at the database per tick and process, however many follow."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app import clock
from app.database import Database
from app.models import Deletion
from app.waiting import Waiting, waiting_for

LONGEST_SECONDS = 900.0  # then the caller comes back, and whether it may still look is asked again
State = tuple[datetime, Waiting | None]  # what tells two sights of a deletion apart
_TOLD = (
    Deletion.id,
    Deletion.updated_at,
    Deletion.status,
    Deletion.not_before,
    Deletion.lease_expires_at,
    Deletion.error_code,
)
_log = structlog.get_logger(__name__)


def state_of(row: Any) -> State:
    """The state of a deletion, or of a row with its times, as it is now."""
    return row.updated_at, waiting_for(row, clock.now())


class Watcher:
    """Looks for changes while somebody follows a deletion.

    `updated_at` moves with whatever callers can see, except that a lease runs out and that a pause ends.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._followers: Counter[str] = Counter()
        self._newest: dict[str, tuple[State, Deletion]] = {}
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    async def follow(self, row: Deletion) -> AsyncIterator[Deletion]:
        """The deletion now and after every change until it has finished; a slow reader gets the newest state only."""
        until = asyncio.get_running_loop().time() + LONGEST_SECONDS
        state = state_of(row)
        with self._follower(row.id):
            yield row
            while row.finished_at is None and (following := await self._next(row.id, state, until)) is not None:
                state, row = following
                yield row

    def close(self) -> None:
        """End every stream. Called on the loop's thread, before the server waits for its connections."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
        self._announce()

    @contextmanager
    def _follower(self, deletion_id: str) -> Iterator[None]:
        """Be counted as somebody who follows."""
        self._followers[deletion_id] += 1
        if not self._closed and (self._looking is None or self._looking.done()):
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            yield
        finally:
            self._followers[deletion_id] -= 1
            if not self._followers[deletion_id]:
                del self._followers[deletion_id]
                self._newest.pop(deletion_id, None)

    async def _next(self, deletion_id: str, state: State, until: float) -> tuple[State, Deletion] | None:
        """The deletion once it is in another state; None when it is time to end."""
        while not self._closed:
            newest = self._newest.get(deletion_id)
            if newest is not None and newest[0] != state:
                return newest
            try:
                await asyncio.wait_for(self._changed.wait(), until - asyncio.get_running_loop().time())
            except TimeoutError:
                return None
        return None

    async def _look(self) -> None:
        """Look until nobody follows any more."""
        while self._followers:
            known = {one: self._newest[one][0] if one in self._newest else None for one in self._followers}
            try:
                changed = await asyncio.to_thread(self._changes, known)
            except SQLAlchemyError:
                _log.warning("the database does not answer")
                changed = []
            self._newest |= {row.id: (state_of(row), row) for row in changed if row.id in self._followers}
            if changed:
                self._announce()
            await asyncio.sleep(self._seconds)

    def _changes(self, known: Mapping[str, State | None]) -> list[Deletion]:
        """What differs from the known versions. Rows may be large: only those that changed are read whole."""
        with self._database.read() as session:
            rows = session.execute(select(*_TOLD).where(Deletion.id.in_(known)))
            changed = [row.id for row in rows if state_of(row) != known[row.id]]
            return list(session.scalars(select(Deletion).where(Deletion.id.in_(changed)))) if changed else []

    def _announce(self) -> None:
        """Wake everybody who waits."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
