"""The database: engine, read and write transactions, and its migrations; SQLite and PostgreSQL alike."""

import select
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DisconnectionError, InterfaceError, InternalError, OperationalError
from sqlalchemy.orm import Session

from app.folders import make_private

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
# How long one waits for a lock; and how long a process may hold one and do nothing, because it was stopped or has
# vanished with its machine, until the server rolls its transaction back.
PATIENCE_SECONDS = 10.0
# The database is away, busy, read-only, or gave up on a transaction: to be tried again later.
AWAY = (OperationalError, InternalError, InterfaceError)
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # a 202 is a promise: the commit must be on disk
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # deleted rows are overwritten with zeros
)
# Of a server that no packet reaches any more: noticed within seconds, not hours. An address may say otherwise.
_CONNECTION = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
OLDEST_SECONDS = 300  # of a connection to PostgreSQL: what stands in between may drop one that is idle for longer


class Journal(Protocol):
    """What keeps the audit log (`app.audit`)."""

    def prepare(self) -> None:
        """Have at hand what `close` needs, before a transaction begins."""
        ...

    def close(self, session: Session) -> None:
        """Write down what the transaction has recorded, as its last act."""
        ...


class Unjournaled:
    """Keeps nothing: for a database that was opened without keys, to be read or to be migrated."""

    def prepare(self) -> None:
        """Nothing is needed."""

    def close(self, session: Session) -> None:
        """Refuse to lose an event."""
        if session.info:
            raise RuntimeError("the database was opened without the audit log's key: use app.records.open_records")


class Database:
    """One database, through short transactions that commit on leaving and roll back on an error."""

    def __init__(self, url: str, pool: int = 10) -> None:
        self.url = url
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = _sqlite(url, pool) if self.sqlite else _postgres(url, pool)
        self._reading = self.engine if self.sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._writing = self.engine.execution_options(begin="BEGIN IMMEDIATE")
        # SQLite lets one writer in at a time and makes the others poll; a lock lets them queue instead.
        self._turn = threading.Lock()
        self.journal: Journal = Unjournaled()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Look without changing anything; PostgreSQL is spared the two journeys of a transaction's begin and end."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A transaction that sees the database as it was at one moment, however long it reads."""
        engine = self.engine if self.sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        with Session(engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction whose audit events are chained as it ends."""
        self.journal.prepare()
        with self.transaction() as session:
            yield session
            self.journal.close(session)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction that holds the write lock from its start (SQLite), so that what it reads stays true."""
        if self.sqlite:
            with self._in_turn(), Session(self._writing, expire_on_commit=False) as session, session.begin():
                yield session
        else:
            with Session(self._writing, expire_on_commit=False) as session, session.begin():
                yield session

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Whoever waits for their turn too long is told so, as one is who waits for another process's lock."""
        if not self._turn.acquire(timeout=PATIENCE_SECONDS):
            raise OperationalError("BEGIN IMMEDIATE", None, sqlite3.OperationalError("database is locked"))
        try:
            yield
        finally:
            self._turn.release()

    def writable(self) -> bool:
        """Whether a server lets anybody write: a standby does not, nor one that was set to read only."""
        if self.sqlite:
            return True
        with self.read() as session:
            return bool(session.scalar(text("SHOW transaction_read_only")) == "off")

    def migrated(self) -> bool:
        """Whether the schema is the one that this code was written for, or a later one: migrations only add."""
        with self.engine.connect() as connection:
            present = MigrationContext.configure(connection).get_current_revision()
        history = ScriptDirectory.from_config(alembic_config(self.url))
        earlier = {one.revision for one in history.walk_revisions()} - {history.get_current_head()}
        return present is not None and present not in earlier

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _sqlite(url: str, pool: int) -> Engine:
    """An engine whose connections are durable and whose transactions begin when told to."""
    path = make_url(url).database
    if path and path != ":memory:":
        make_private(Path(path).parent)
        Path(path).touch(mode=0o600)  # SQLite gives its journals the mode of the file
    engine = create_engine(url, hide_parameters=True, pool_size=pool)

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # keeps the driver from beginning transactions by itself
        for pragma in (*_PRAGMAS, f"PRAGMA busy_timeout={PATIENCE_SECONDS * 1000:.0f}"):
            connection.execute(pragma).close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(str(connection.get_execution_options().get("begin", "BEGIN")))

    return engine


def _postgres(url: str, pool: int) -> Engine:
    """An engine that survives a restarted server, and waits for ever neither for it nor for another process's lock."""
    told = {name: value for name, value in _CONNECTION.items() if name not in make_url(url).query}
    engine = create_engine(url, hide_parameters=True, pool_size=pool, pool_recycle=OLDEST_SECONDS, connect_args=told)

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        milliseconds = round(PATIENCE_SECONDS * 1000)
        connection.autocommit = True
        for limit in ("lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"SET {limit} = {milliseconds}")
        connection.autocommit = False

    @event.listens_for(engine, "checkout")
    def _checkout(connection: Any, _record: Any, _proxy: Any) -> None:
        """A server that went away has said so, or closed its end: that is seen here without a journey to it."""
        heard = select.poll()
        heard.register(connection, select.POLLIN)
        if heard.poll(0):
            raise DisconnectionError

    return engine


def alembic_config(url: str) -> Config:
    """Alembic's configuration for this database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config


def migrate(url: str, revision: str = "head") -> None:
    """Bring the schema up to a revision."""
    command.upgrade(alembic_config(url), revision)
