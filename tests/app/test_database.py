"""Who waits for the database: never for ever, and with an answer that says when to try again."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import make_url, select, text

from app import database as module
from app.database import AWAY, Database
from app.models import AuditHead
from app.settings import Settings
from tests.conftest import FRANCE, caller, wired

PATIENCE = 1.0


@pytest.fixture
def client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A caller of a service that waits for a second only."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", PATIENCE)
    with caller(settings) as local:
        assert accepted(local)  # its connections and its keys are there
        yield local


def accepted(client: TestClient) -> bool:
    """Ask as the answer says to: again after a 503, as a busy machine may keep the database for a second, too."""
    deadline = time.monotonic() + 60
    while (answer := client.post("/deletions", json=FRANCE)).status_code == 503 and time.monotonic() < deadline:
        time.sleep(float(answer.headers["retry-after"]))
    return answer.status_code == 202


def elsewhere(settings: Settings) -> psycopg.Connection:
    """A connection of another program's."""
    url = make_url(settings.database).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False))


def only(settings: Settings, backend: str) -> None:
    if not settings.database.startswith(backend):
        pytest.skip(f"of {backend}")


def test_a_process_that_stops_within_a_transaction_holds_up_nobody_for_long(client: TestClient, settings: Settings):
    only(settings, "postgresql")
    stopped, answers = Database(settings.database), []

    def stop_and_go_on() -> None:
        with stopped.transaction() as session:
            session.execute(select(AuditHead).with_for_update())  # what all writers queue for
            answers.extend(client.post("/deletions", json=FRANCE).status_code for _ in range(2))
            assert accepted(client)
            session.execute(text("SELECT 1"))

    began = time.monotonic()
    with pytest.raises(AWAY):  # when it wakes up, its transaction is over
        stop_and_go_on()
    assert time.monotonic() - began < 20 * PATIENCE
    assert set(answers) <= {202, 503}
    stopped.close()


def test_a_row_that_another_program_keeps_locked_is_a_503_and_the_service_goes_on(
    client: TestClient, settings: Settings
):
    only(settings, "postgresql")
    with elsewhere(settings) as other:
        other.execute("SELECT * FROM audit_head FOR UPDATE")
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: client.post("/deletions", json=FRANCE), range(12)))
        assert {(answer.status_code, answer.json()["type"]) for answer in answers} == {
            (503, "/problems/database-unavailable")
        }
        assert {answer.headers["retry-after"] for answer in answers} == {"2"}
        other.rollback()
    assert accepted(client)


def test_a_locked_file_is_a_503_to_all_who_wait_and_the_process_is_alive(client: TestClient, settings: Settings):
    only(settings, "sqlite")
    locked = sqlite3.connect(make_url(settings.database).database or "", isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with ThreadPoolExecutor(60) as pool:
        posted = [pool.submit(client.post, "/deletions", json=FRANCE) for _ in range(60)]
        time.sleep(PATIENCE / 2)
        assert client.get("/healthz").status_code == 200
        assert not all(one.done() for one in posted), "it answered only after them"
        assert {one.result().status_code for one in posted} == {503}
    assert time.monotonic() - began < 20 * PATIENCE, "they waited one after the other"
    locked.execute("COMMIT")
    locked.close()
    assert accepted(client)


def test_a_server_that_takes_no_writes_is_a_503_reads_go_on_and_it_is_not_ready(client: TestClient, settings: Settings):
    only(settings, "postgresql")
    name = make_url(settings.database).database
    deletion = client.get("/deletions").json()["items"][0]["id"]
    with elsewhere(settings) as admin:
        admin.autocommit = True
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            wired(client).database.engine.dispose()
            answer = client.post("/deletions", json=FRANCE)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/database-unavailable")
            assert client.get(f"/deletions/{deletion}").status_code == 200
            ready = client.get("/readyz")
            assert ready.status_code == 503
            assert {"field": "database", "detail": "it takes no writes"}.items() <= ready.json()["errors"][0].items()
        finally:
            admin.execute("SET default_transaction_read_only = off")
            admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            wired(client).database.engine.dispose()
    assert accepted(client)


def test_an_address_may_say_otherwise_how_its_server_is_reached(settings: Settings):
    only(settings, "postgresql")
    own = make_url(settings.database).update_query_dict({"keepalives_idle": "77"})
    database = Database(own.render_as_string(hide_password=False))
    with database.engine.connect() as connection:
        told = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
    database.close()
    assert (told["keepalives_idle"], told["keepalives_count"]) == ("77", "3")


def test_the_turns_of_writers_are_given_back(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    only(settings, "sqlite")
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.2)
    database, inside, leave = Database(settings.database), threading.Event(), threading.Event()

    def hold() -> None:
        with database.transaction():
            inside.set()
            leave.wait()

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        inside.wait()
        with pytest.raises(AWAY, match="locked"), database.transaction():
            pass
        leave.set()
        holding.result()
    with database.transaction() as session:
        assert session.scalar(text("SELECT 1")) == 1
    database.close()
