"""The database: one history of migrations, transactions that hold, and moments in UTC."""

import contextlib
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import StatementError

from app import clock
from app.database import MIGRATIONS, Database, alembic_config, migrate
from app.models import AuditEvent, Base, Duty, Model

ROOT = Path(__file__).resolve().parents[2]


def test_the_migrations_make_what_the_models_say_and_can_be_undone(empty_url):
    migrate(empty_url)
    command.check(alembic_config(empty_url))
    database = Database(empty_url)
    assert database.migrated()
    assert set(inspect(database.engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    with database.read() as session:
        assert [model.id for model in session.scalars(select(Model))] == ["smollm2-135m-instruct"]
    command.downgrade(alembic_config(empty_url), "base")
    assert not database.migrated()
    database.close()
    database = Database(empty_url)
    assert inspect(database.engine).get_table_names() == ["alembic_version"]
    database.close()
    migrate(empty_url)


def test_the_history_is_one_line_in_the_order_of_its_files():
    history = list(ScriptDirectory.from_config(alembic_config("sqlite://")).walk_revisions())[::-1]
    assert [Path(one.path).name for one in history] == sorted(path.name for path in MIGRATIONS.glob("versions/*.py"))
    assert [one.revision[:4] for one in history] == [f"{number:04d}" for number in range(1, len(history) + 1)]


def test_no_migration_loses_an_audit_event(empty_url):
    migrate(empty_url, "0001")
    database = Database(empty_url)
    row = AuditEvent(
        id=1, tenant="t", at=clock.now(), actor="a", action="b", details={}, previous_hash="0" * 64, hash="1" * 64
    )
    with database.transaction() as session:
        session.add(row)
    migrate(empty_url)
    with database.read() as session:
        assert [event.hash for event in session.scalars(select(AuditEvent))] == ["1" * 64]
    database.close()


def test_the_check_of_the_migrations_can_fail(tmp_path):
    url = f"sqlite:///{tmp_path / 'other.db'}"
    migrate(url)
    with sqlite3.connect(tmp_path / "other.db") as raw:
        raw.execute("ALTER TABLE models ADD COLUMN colour VARCHAR")
    raw.close()
    with pytest.raises(Exception, match="New upgrade operations detected"):
        command.check(alembic_config(url))


def test_a_migration_that_is_interrupted_leaves_nothing_behind(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'torn.db'}"
    monkeypatch.setattr("alembic.op.bulk_insert", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        migrate(url)
    monkeypatch.undo()
    migrate(url)
    command.check(alembic_config(url))


def test_many_processes_may_migrate_at_once_and_again(empty_url):
    script = f"from app.database import migrate; migrate({empty_url!r})"
    started = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate(timeout=120)[1].decode()[-400:] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    migrate(empty_url)
    command.check(alembic_config(empty_url))


def test_a_transaction_is_all_or_nothing(services):
    def begin_and_fail():
        with services.database.write() as session:
            session.add(Duty(name="x", owner="y", expires_at=clock.now()))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        begin_and_fail()
    with services.database.read() as session:
        assert session.scalars(select(Duty)).all() == []


def test_connections_that_the_server_has_ended_are_replaced_before_they_are_used(services):
    if services.database.sqlite:
        pytest.skip("SQLite has no server")

    def connected() -> set[int]:
        """Process ids of the server behind three connections, which then go back to the pool."""
        with contextlib.ExitStack() as held:
            sessions = [held.enter_context(services.database.read()) for _ in range(3)]
            return {session.scalar(text("SELECT pg_backend_pid()")) for session in sessions}

    before = connected()
    with psycopg.connect(services.database.url.replace("+psycopg", ""), autocommit=True) as server:
        for pid in before:
            server.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    assert connected().isdisjoint(before)


def test_moments_come_back_in_utc_and_naive_ones_are_refused(services):
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    with services.database.write() as session:
        session.add(Duty(name="x", owner="y", expires_at=moment))
    with services.database.read() as session:
        stored = session.scalars(select(Duty)).one().expires_at
    assert (stored, stored.tzinfo) == (moment, UTC)
    with pytest.raises(StatementError, match="naive"), services.database.write() as session:
        session.add(Duty(name="z", owner="y", expires_at=datetime(2026, 3, 1)))


def test_sqlite_keeps_its_promises_on_disk(sqlite_template):
    database = Database(f"sqlite:///{sqlite_template}")
    with database.read() as session:
        found = {name: session.scalar(text(f"PRAGMA {name}")) for name in (
            "journal_mode", "synchronous", "foreign_keys", "secure_delete", "busy_timeout",
        )}  # fmt: skip
    database.close()
    assert found == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "busy_timeout": 10000,
    }  # fmt: skip


def test_ids_sort_by_the_time_they_were_made():
    made = []
    for _ in range(200):
        made.append(clock.new_deletion_id())
        until = datetime.now(UTC) + timedelta(microseconds=2)
        while datetime.now(UTC) < until:
            pass
    assert made == sorted(made)
    assert len(set(made)) == 200
