"""Event streams: what happens to a deletion arrives at everybody who follows it, and costs one look per tick."""

import json
import threading
from collections.abc import Iterator

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, update

from app import clock
from app.leases import Leases
from app.models import Deletion, Stage
from app.report import VerdictKind
from app.settings import Settings
from tests.conftest import FRANCE, FakePipeline, wired, worker_on
from tests.serving import Served, serving


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    """A running service that looks for changes often."""
    with serving(settings.model_copy(update={"watch_seconds": 0.01})) as running:
        yield running


def submit(url):
    return httpx.post(f"{url}/deletions", json=FRANCE).json()["id"]


def events(lines) -> Iterator[dict]:
    """The events of a stream, with their data read."""
    fields: dict = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields:
            yield {**fields, "data": json.loads(fields["data"])}
            fields = {}


def following(url, deletion_id, **headers):
    return httpx.stream("GET", f"{url}/deletions/{deletion_id}/events", headers=headers, timeout=20)


def test_a_stream_tells_of_every_stage_and_ends_with_the_deletion(served: Served):
    deletion_id = submit(served.url)
    with following(served.url, deletion_id) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        heard = events(stream.iter_lines())
        seen = [next(heard)]
        # each stage waits until the stream has told of the one before
        pipeline = FakePipeline(meanwhile=lambda stage: seen.append(next(heard)))
        worker_on(served.services, pipeline).runner.work()
        seen += heard
    assert [item["data"]["status"] for item in seen[:2]] == ["queued", "running"]
    assert [item["data"]["stage"] for item in seen[2:6]] == list(Stage)[:4]
    assert seen[-1]["data"] == httpx.get(f"{served.url}/deletions/{deletion_id}").json()
    assert (seen[-1]["event"], seen[-1]["data"]["status"]) == ("deletion", "completed")


def test_a_stream_tells_that_the_worker_has_fallen_silent_and_who_is_waited_for(served: Served):
    deletion_id = submit(served.url)
    with following(served.url, deletion_id) as stream:
        heard = events(stream.iter_lines())
        assert next(heard)["data"]["waiting_for"] == "worker"
        Leases(served.services.database, served.services.sealer, served.services.settings).claim(
            FRANCE["model"], "wrk_a"
        )
        claimed = next(heard)
        with served.services.database.write() as session:
            session.execute(update(Deletion).values(lease_expires_at=clock.now()))
        lapsed = next(heard)
    assert (claimed["data"]["status"], claimed["data"]["waiting_for"]) == ("running", None)
    assert (lapsed["data"]["status"], lapsed["data"]["waiting_for"]) == ("running", "worker")
    assert lapsed["id"] != claimed["id"]
    shown = httpx.get(f"{served.url}/ui/deletions/{deletion_id}").text
    assert "Waiting for a worker: the one that ran it has fallen silent" in shown


def test_a_stream_is_resumed_after_the_last_event_that_was_seen(served: Served):
    deletion_id = submit(served.url)
    with following(served.url, deletion_id) as stream:
        first = next(events(stream.iter_lines()))
    with following(served.url, deletion_id, **{"Last-Event-ID": first["id"]}) as stream:
        httpx.delete(f"{served.url}/deletions/{deletion_id}")
        (only,) = events(stream.iter_lines())
    assert only["data"]["status"] == "canceled"
    with following(served.url, deletion_id, **{"Last-Event-ID": "of another time"}) as stream:
        assert [item["id"] for item in events(stream.iter_lines())] == [only["id"]]


def test_a_browser_that_has_seen_the_end_is_told_to_stay_away(client: TestClient):
    deletion_id = client.post("/deletions", json=FRANCE).json()["id"]
    worker_on(wired(client), FakePipeline()).runner.work()
    (last,) = events(client.get(f"/deletions/{deletion_id}/events").text.splitlines())
    again = client.get(f"/deletions/{deletion_id}/events", headers={"Last-Event-ID": last["id"]})
    assert (again.status_code, again.content) == (204, b"")


def test_a_stream_goes_on_while_a_review_is_awaited(served: Served):
    deletion_id = submit(served.url)
    worker_on(served.services, FakePipeline(VerdictKind.MISSED)).runner.work()
    with following(served.url, deletion_id) as stream:
        heard = events(stream.iter_lines())
        assert next(heard)["data"]["status"] == "needs_review"
        httpx.post(f"{served.url}/deletions/{deletion_id}/approve")
        assert [item["data"]["outcome"] for item in heard] == ["forgotten"]


def test_many_streams_cost_one_look_per_tick(settings: Settings):
    with serving(settings.model_copy(update={"watch_seconds": 3600})) as running:
        deletion_id, looks = submit(running.url), []
        looked = threading.Event()

        @event.listens_for(running.services.database.engine, "before_cursor_execute")
        def _count(_connection, _cursor, statement, *_more):
            if "SELECT deletions.id, deletions.updated_at" in statement:
                looks.append(statement)
                looked.set()

        streams = [following(running.url, deletion_id) for _ in range(8)]
        for stream in streams:
            assert next(events(stream.__enter__().iter_lines()))["data"]["status"] == "queued"
        assert looked.wait(20)
        assert len(looks) == 1
        for stream in streams:
            stream.__exit__(None, None, None)


def test_a_server_that_stops_ends_its_streams(settings: Settings):
    with serving(settings) as running:
        deletion_id = submit(running.url)
        stream = following(running.url, deletion_id)
        heard = events(stream.__enter__().iter_lines())
        assert next(heard)["data"]["status"] == "queued"
    assert list(heard) == []
    stream.__exit__(None, None, None)


def test_an_open_stream_ends_in_time_so_that_rights_are_asked_again(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.watching.LONGEST_SECONDS", 0.05)
    with following(served.url, submit(served.url)) as stream:
        assert [item["data"]["status"] for item in events(stream.iter_lines())] == ["queued"]
