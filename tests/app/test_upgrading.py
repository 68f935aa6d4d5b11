"""An upgrade while the version before is at work: migrations only add, and what is old still writes and reads."""

import base64
import secrets
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, inspect, text

from app.access import LOCAL
from app.database import Database, alembic_config, migrate
from app.models import Status
from app.schemas import DeletionRequest
from app.services import build
from app.settings import Settings
from tests.conftest import FRANCE, FakePipeline, worker_on

Shape = dict[str, dict[str, Any]]


def shape(engine: Engine) -> Shape:
    """Tables, columns, and what the database says of each."""
    seen = inspect(engine)
    return {table: {column["name"]: column for column in seen.get_columns(table)} for table in seen.get_table_names()}


def unique(engine: Engine) -> set[tuple[str, tuple[str | None, ...]]]:
    """Which columns of which tables together must not repeat."""
    seen = inspect(engine)
    names = seen.get_table_names()
    keys = {(t, tuple(one["column_names"])) for t in names for one in seen.get_unique_constraints(t)}
    return keys | {(t, tuple(one["column_names"])) for t in names for one in seen.get_indexes(t) if one["unique"]}


def breaks(old: Shape, new: Shape) -> list[str]:
    """What code that knows only the old shape would stumble over in the new one."""
    found = [f"{table} is gone" for table in old if table not in new]
    for table in old.keys() & new.keys():
        for name, column in new[table].items():
            if name not in old[table]:
                if not column["nullable"] and column["default"] is None:
                    found.append(f"{table}.{name} is new and must be given")
            elif old[table][name]["nullable"] and not column["nullable"]:
                found.append(f"{table}.{name} may no longer be empty")
            elif str(old[table][name]["type"]) != str(column["type"]):
                found.append(f"{table}.{name} has another type")
        found += [f"{table}.{name} is gone" for name in old[table] if name not in new[table]]
    return found


def test_every_migration_leaves_room_for_the_workers_of_the_version_before(empty_url: str):
    history = [one.revision for one in ScriptDirectory.from_config(alembic_config(empty_url)).walk_revisions()][::-1]
    migrate(empty_url, history[0])
    engine = create_engine(empty_url)
    before, once = shape(engine), unique(engine)
    for revision in history[1:]:
        engine.dispose()  # no connection remembers the schema before
        migrate(empty_url, revision)
        after = shape(engine)
        assert (revision, breaks(before, after)) == (revision, [])
        assert {table for table, _ in unique(engine) - once} <= after.keys() - before.keys(), revision
        before, once = after, unique(engine)
    engine.dispose()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("ALTER TABLE workers ADD COLUMN rack VARCHAR", []),
        ("ALTER TABLE workers ADD COLUMN rack VARCHAR NOT NULL DEFAULT ''", []),
        ("ALTER TABLE workers RENAME COLUMN host TO machine", ["workers.machine is new and must be given",
                                                               "workers.host is gone"]),
        ("ALTER TABLE artefacts RENAME TO files", ["artefacts is gone"]),
    ],
)  # fmt: skip
def test_a_migration_that_would_break_them_is_seen(tmp_path, change: str, says: list[str]):
    url = f"sqlite:///{tmp_path / 'other.db'}"
    migrate(url)
    engine = create_engine(url)
    before = shape(engine)
    with engine.begin() as connection:
        connection.execute(text(change))
    assert breaks(before, shape(engine)) == says
    engine.dispose()


def test_an_upgraded_database_is_ready_for_the_version_before_but_an_older_one_is_not(empty_url: str):
    database = Database(empty_url)
    migrate(empty_url, "0001")
    assert not database.migrated()
    migrate(empty_url)
    assert database.migrated()
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert database.migrated()
    database.close()


def test_a_run_that_began_before_an_upgrade_is_recorded_after_it(empty_url: str, tmp_path):
    migrate(empty_url)
    key = SecretStr(base64.b64encode(secrets.token_bytes(32)).decode())
    services = build(Settings(data_dir=tmp_path / "data", database_url=empty_url, master_key=key))
    deletion_id = services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE)).row.id

    def upgrade(stage: object) -> None:
        if not upgraded:
            upgraded.append(stage)
            with services.database.engine.begin() as connection:
                connection.execute(text("ALTER TABLE deletions ADD COLUMN colour VARCHAR"))
                connection.execute(text("ALTER TABLE artefacts ADD COLUMN colour VARCHAR NOT NULL DEFAULT 'red'"))

    upgraded: list[object] = []
    worker_on(services, FakePipeline(meanwhile=upgrade)).runner.work()
    assert upgraded
    assert services.deletions.get(LOCAL, deletion_id).status is Status.COMPLETED
    services.bell.close()
    services.database.close()
