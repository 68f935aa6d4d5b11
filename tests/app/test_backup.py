"""A backup made while the service works, by the commands of docs/operations/backup.md, holds all it had accepted."""

import secrets
import shutil
import sqlite3
import subprocess
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, select

from app.access import LOCAL
from app.models import Deletion, Status
from app.schemas import DeletionRequest
from app.services import Services, build
from tests.conftest import FRANCE, POSTGRES, FakePipeline, worker_on

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "operations" / "backup.md").read_text("utf-8")


@pytest.fixture
def restored_url(services: Services, tmp_path: Path):
    """Where a backup is to be restored to."""
    if services.database.sqlite:
        yield f"sqlite:///{tmp_path / 'restored.db'}"
        return
    name = f"r2f_test_{secrets.token_hex(6)}"
    admin = make_url(POSTGRES).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        yield make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def back_up_and_restore(source: str, target: str, folder: Path) -> None:
    if source.startswith("sqlite"):
        assert ".backup" in TEXT
        with sqlite3.connect(make_url(source).database) as here, sqlite3.connect(make_url(target).database) as there:
            here.backup(there)  # what the shell's .backup does
        here.close()
        there.close()
        return
    dump = str(folder / "r2f.dump")
    urls = (make_url(url).set(drivername="postgresql") for url in (source, target))
    plain = [url.render_as_string(hide_password=False) for url in urls]
    assert shutil.which("pg_dump"), "install PostgreSQL's client"
    subprocess.run(["pg_dump", "--format=custom", f"--file={dump}", plain[0]], check=True, timeout=120)
    options = ["--clean", "--if-exists", "--no-owner"]
    assert all(option in TEXT for option in ("pg_dump --format=custom", *options))
    subprocess.run(["pg_restore", *options, f"--dbname={plain[1]}", dump], check=True, timeout=120)


def test_what_was_accepted_is_in_the_backup_and_is_worked_off_there(services, restored_url, tmp_path):
    submitted = [services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE)).row.id for _ in range(3)]
    first = worker_on(services, FakePipeline())
    first.runner.work()
    back_up_and_restore(services.settings.database, restored_url, tmp_path)
    again = build(services.settings.model_copy(update={"database_url": restored_url}))
    second = worker_on(again, FakePipeline(), "wrk_after")
    while second.runner.work() is not None:
        pass
    with again.database.read() as session:
        rows = {row.id: row.status for row in session.scalars(select(Deletion))}
    assert rows == dict.fromkeys(submitted, Status.COMPLETED)
    assert again.deletions.report(again.deletions.get(LOCAL, submitted[0])).evidence is not None
    assert services.deletions.get(LOCAL, submitted[1]).status is Status.QUEUED  # the original was left alone
    again.bell.close()
    again.database.close()
