"""The only writer of the sessions table: a browser's cookie stands for an API key, for a short time, until it logs out.

The cookie holds 256 random bits; the database keeps a keyed hash of them, so that whoever reads it opens no session.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete

from app import clock
from app.access import Caller
from app.database import Database
from app.keys import Keys
from app.models import BrowserSession
from app.sealing import Sealer
from app.settings import Settings

COOKIE = "r2f_session"
_FORM = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class Session:
    """A session that was just opened, with the only copy of its cookie."""

    caller: Caller
    cookie: str
    expires_at: datetime


class Sessions:
    """Opens sessions, recognises them and ends them."""

    def __init__(self, database: Database, keys: Keys, sealer: Sealer, settings: Settings) -> None:
        self._database = database
        self._keys = keys
        self._sealer = sealer
        self._length = timedelta(minutes=settings.session_minutes)

    def open(self, token: str) -> Session | None:
        """A session for whoever shows a key; None when it is none that works."""
        caller = self._keys.owner(token)
        if caller is None or caller.key_id is None:
            return None
        cookie, now = secrets.token_hex(32), clock.now()
        row = BrowserSession(id=self._hash(cookie), key_id=caller.key_id, created_at=now, expires_at=now + self._length)
        with self._database.write() as session:
            session.execute(delete(BrowserSession).where(BrowserSession.expires_at <= now))
            session.add(row)
        return Session(caller, cookie, row.expires_at)

    def holder(self, cookie: str) -> Caller | None:
        """Whose session this is; None when it was made up, has ended, or its key no longer works."""
        if not _FORM.fullmatch(cookie):
            return None
        with self._database.read() as session:
            row = session.get(BrowserSession, self._hash(cookie))
        if row is None or row.expires_at <= clock.now():
            return None
        return self._keys.holder(row.key_id)

    def close(self, cookie: str | None) -> None:
        """End the session, wherever else its cookie may be by now; nothing where there is none."""
        if cookie is None or not _FORM.fullmatch(cookie):
            return
        with self._database.write() as session:
            session.execute(delete(BrowserSession).where(BrowserSession.id == self._hash(cookie)))

    def _hash(self, cookie: str) -> str:
        return self._sealer.fingerprint("session", cookie)
