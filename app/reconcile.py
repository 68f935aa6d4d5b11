"""Files and rows brought into line: what no row knows is deleted, and what a row misses is told.

A worker that dies after its files are stored, and before they are recorded, leaves them behind, and so does a process
that dies between the row of a rejected or expired adapter and its files. A row without its file, or with one of another
length, means that somebody has touched the store, or that it was restored from a back-up of another day.
"""

import re
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select

from app.clock import DELETION_ID
from app.database import Database
from app.errors import ArtefactMissing
from app.models import Artefact, ArtefactKind, Deletion, Status
from app.settings import Settings
from app.storage import Store

_log = structlog.get_logger(__name__)


def reconcile(database: Database, store: Store, settings: Settings, now: datetime) -> None:
    """Delete what is older than a lease and in nobody's hands; log each recorded file that is not there, or is torn."""
    oldest = now - timedelta(seconds=settings.lease_seconds)
    for owner, token in list(store.older(oldest)):
        if re.fullmatch(DELETION_ID, owner) and not _wanted(database, owner, token):
            _log.warning("files of no record deleted", deletion_id=owner, token=token)
            store.drop(owner, token)
    with database.read() as session:
        whole = select(Artefact.deletion_id, Artefact.path, Artefact.size).where(Artefact.kind == ArtefactKind.ADAPTER)
        recorded = [row._tuple() for row in session.execute(whole)]
    for deletion_id, path, size in recorded:
        try:
            if store.size(path) != size:
                _log.error("a recorded file is torn", deletion_id=deletion_id)
        except ArtefactMissing:
            _log.error("a recorded file is not in the store", deletion_id=deletion_id)


def _wanted(database: Database, owner: str, token: int) -> bool:
    """Whether a lease is recorded as the one that published, or is still at work."""
    with database.read() as session:
        row = session.get(Deletion, owner)
        if row is None:
            return False
        if row.status is Status.RUNNING and row.lease_token == token:
            return True
        mine = select(Artefact.id).where(Artefact.deletion_id == owner, Artefact.lease_token == token)
        return session.scalar(mine.limit(1)) is not None
