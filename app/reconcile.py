"""Files and rows brought into line: what no row knows is deleted, and what a row misses is told.

A worker that dies after its files are stored, and before they are recorded, leaves them behind, and so does a process
that dies between the row of a rejected or expired adapter and its files. A row without its file, or with one of another
length, means that somebody has touched the store, or that it was restored from a back-up of another day.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice

import structlog
from sqlalchemy import select

from app.clock import DELETION_ID
from app.database import Database
from app.errors import ArtefactMissing
from app.models import Artefact, Deletion, Status
from app.settings import Settings
from app.storage import Store

BATCH = 500  # folders, or recorded files, looked up at once: a queue's history is long
Place = tuple[str, int]  # a deletion's id, and the token of the lease that stored something for it
_log = structlog.get_logger(__name__)


def reconcile(database: Database, store: Store, settings: Settings, now: datetime) -> None:
    """Delete what is older than a lease and in nobody's hands; log each deletion of which a file is missing or torn."""
    oldest = now - timedelta(seconds=settings.lease_seconds)
    ours = (place for place in store.older(oldest) if re.fullmatch(DELETION_ID, place[0]))
    for places in _batches(ours):
        for owner, token in sorted(set(places) - _wanted(database, places)):
            _log.warning("files of no record deleted", deletion_id=owner, token=token)
            store.drop(owner, token)
    for deletion_id, fault in sorted(_faults(database, store).items()):
        _log.error(f"a recorded file is {fault}", deletion_id=deletion_id)


def _wanted(database: Database, places: Iterable[Place]) -> set[Place]:
    """Those whose lease is recorded as the one that published, or is still at work."""
    owners = {owner for owner, _ in places}
    running = select(Deletion.id, Deletion.lease_token).where(
        Deletion.id.in_(owners), Deletion.status == Status.RUNNING
    )
    published = select(Artefact.deletion_id, Artefact.lease_token).where(Artefact.deletion_id.in_(owners)).distinct()
    with database.read() as session:
        return {(owner, token) for asked in (running, published) for owner, token in session.execute(asked)}


def _faults(database: Database, store: Store) -> dict[str, str]:
    """What is wrong with the recorded files of a deletion."""
    found: dict[str, str] = {}
    for deletion_id, path, size in _recorded(database):
        try:
            if store.size(path) != size:
                found[deletion_id] = "torn"
        except ArtefactMissing:
            found[deletion_id] = "not in the store"
    return found


def _recorded(database: Database) -> Iterator[tuple[str, str, int]]:
    """Deletion, path and length of every recorded file, a page at a time."""
    last = 0
    while True:
        page = select(Artefact.id, Artefact.deletion_id, Artefact.path, Artefact.size)
        with database.read() as session:
            rows = session.execute(page.where(Artefact.id > last).order_by(Artefact.id).limit(BATCH)).all()
        yield from ((row.deletion_id, row.path, row.size) for row in rows)
        if len(rows) < BATCH:
            return
        last = rows[-1].id


def _batches(places: Iterable[Place]) -> Iterator[list[Place]]:
    left = iter(places)
    while batch := list(islice(left, BATCH)):
        yield batch
