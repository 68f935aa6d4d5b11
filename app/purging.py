"""Purging: the key of a request is destroyed, and with it all that the request said; figures and receipts stay.

It happens some days after a deletion is done, or when an operator says so. What failed is kept until then: it is owed.
"""

from datetime import datetime, timedelta
from uuid import uuid4

import structlog
from sqlalchemy import delete, select, update

from app import audit, clock, duties
from app.certificates import Certificates
from app.database import AWAY, Database
from app.errors import ArtefactMissing, KeyNotAtHand, StoreUnavailable
from app.masterkeys import MasterKeys
from app.models import Artefact, Certificate, Deletion, Outcome, Status
from app.personal_data import purge
from app.settings import Settings
from app.storage import Store

DUTY = "purge"
SECONDS = 60.0
BATCH = 200
ACTOR = "purger"
DONE = (Status.COMPLETED, Status.CANCELED)  # nothing more is owed
_log = structlog.get_logger(__name__)


class Purger:
    """Certifies what is completed, purges what is done, and removes adapters whose time is over."""

    def __init__(
        self, database: Database, keys: MasterKeys, store: Store, certificates: Certificates, settings: Settings
    ) -> None:
        self._database = database
        self._keys = keys
        self._store = store
        self._certificates = certificates
        self._grace = timedelta(days=settings.purge_days)
        self._retention = timedelta(days=settings.adapter_days) if settings.adapter_days else None
        self._owner = uuid4().hex
        self._certified = ""  # where the last round's page of what has no certificate ended

    def sweep(self) -> bool:
        """Do the round, unless another process has the duty; whether it was done."""
        self._keys.refresh()  # lets go of a master key that was rotated away
        now = clock.now()
        if not duties.take(self._database, DUTY, self._owner, now, SECONDS * 2):
            return False
        self._purge(now)  # first, as it leans on nothing but the database
        self._certify()  # before the adapters that it states are gone
        if self._retention is not None:
            self._expire(now - self._retention, now)
        return True

    def pause(self, usual: float) -> float:
        """Seconds until the next round."""
        return usual

    def _certify(self) -> None:
        """Issue what nobody has asked for yet, while everything that it states is there; a page a round."""
        certified = select(Certificate.deletion_id).where(Certificate.deletion_id == Deletion.id).exists()
        wanted = select(Deletion).where(Deletion.status == Status.COMPLETED, ~certified, Deletion.id > self._certified)
        with self._database.read() as session:
            rows = list(session.scalars(wanted.order_by(Deletion.id).limit(BATCH)))
        for row in rows:
            if not self._try_certificate(row):
                return
        self._certified = rows[-1].id if len(rows) == BATCH else ""

    def _try_certificate(self, row: Deletion) -> bool:
        """Issue a certificate, unless something of its own stands in the way for good; False where to try later."""
        try:
            self._certificates.of(row)
        except ArtefactMissing:
            _log.error("an adapter is not in the store", deletion_id=row.id)
        except (StoreUnavailable, KeyNotAtHand, *AWAY) as error:
            _log.warning("no certificates can be issued now", reason=type(error).__name__)
            return False
        except Exception:
            # The boundary of a row: what one of them lacks must not keep the others from their certificates.
            _log.exception("a certificate could not be issued", deletion_id=row.id)
        return True

    def _purge(self, now: datetime) -> None:
        due = select(Deletion.id).where(
            Deletion.status.in_(DONE), Deletion.finished_at <= now - self._grace, Deletion.purged_at.is_(None)
        )
        while True:
            with self._database.write() as session:
                ids = list(session.scalars(due.limit(BATCH).with_for_update(skip_locked=True)))
                for deletion_id in ids:
                    purge(session, deletion_id, now, ACTOR)
            if len(ids) < BATCH:
                return

    def _expire(self, before: datetime, now: datetime) -> None:
        due = (
            Deletion.outcome == Outcome.FORGOTTEN,
            Deletion.status == Status.COMPLETED,
            Deletion.finished_at <= before,
            Deletion.adapter_expired_at.is_(None),
        )
        with self._database.read() as session:
            over = list(session.scalars(select(Deletion).where(*due).limit(BATCH)))
        # a certificate says what the adapter was: this waits for it, but not for one that will never be
        ids = [row.id for row in over if self._try_certificate(row)]
        wanted = select(Deletion.id, Deletion.tenant, Deletion.lease_token).where(*due, Deletion.id.in_(ids))
        with self._database.write() as session:
            rows = session.execute(wanted.with_for_update(skip_locked=True)).all()
            for row in rows:
                session.execute(delete(Artefact).where(Artefact.deletion_id == row.id))
                session.execute(update(Deletion).where(Deletion.id == row.id).values(adapter_expired_at=now))
                audit.record(session, now, row.tenant, ACTOR, "adapter.expired", row.id)
        for row in rows:
            self._store.delete(row.id, below=row.lease_token + 1)
