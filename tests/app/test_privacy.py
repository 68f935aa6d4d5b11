"""What was planted as personal data is found in clear nowhere; the log of the search is printed at the end."""

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pytest_httpserver import HTTPServer

from app.logs import configure_logging
from app.report import VerdictKind
from app.services import Services
from app.settings import Settings
from tests.canary import ADDRESS, REQUEST, STREET, Search
from tests.conftest import CANARY, NAME, FakePipeline, FakeResult, report_of, wired, worker_on

Lines = Callable[[], list[dict[str, Any]]]
LOOKED = {
    "error bodies", "error headers", "metrics", "logs at DEBUG", "traces", "webhooks", "bells", "tasks' arguments",
    "certificate", "audit log", "adapter", "lists", "table deletions", "table webhook_deliveries", "file names",
    "file: artefacts",
}  # fmt: skip


class TellingPipeline(FakePipeline):
    """Fails, saying in its message what it should not."""

    def __call__(self, request: Any, loaded: Any, checkpoint: Any) -> FakeResult:
        raise ValueError(f"cannot forget {request.targets[0].answer} of {request.data_subject}")


class KnowingPipeline(FakePipeline):
    """Reports the personal data as evidence, as a real one does."""

    def __call__(self, request: Any, loaded: Any, checkpoint: Any) -> FakeResult:
        result = super().__call__(request, loaded, checkpoint)
        return FakeResult(result.outcome, report_of(VerdictKind.PASSED, said=ADDRESS), result.adapter)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The receiver of the webhooks is on this machine; sweeps happen when a test says so."""
    return settings.model_copy(update={"webhook_allow_private": True, "sweep_seconds": 3600.0})


def wrong_calls(client: TestClient, deletion: str) -> Iterator[Any]:
    """Answers to calls that are wrong in some way, with the canary in every place that a caller fills."""
    yield client.get(f"/deletions/{CANARY}")
    yield client.get(f"/{CANARY}")
    yield client.get("/deletions", params={"reference": CANARY, "cursor": CANARY})
    yield client.get("/audit", params={"cursor": CANARY, "deletion": CANARY})
    yield client.get("/audit/verify", params={"hash": CANARY})
    yield client.get(f"{deletion}/adapter/{CANARY}")
    for more in ({CANARY: CANARY}, {NAME: 1}, {"options": {NAME: 1}}, {"model": CANARY}, {"legal_basis": CANARY}):
        yield client.post("/deletions", json={**REQUEST, **more})
    yield client.post("/deletions", json={**REQUEST, "targets": [{"about": ADDRESS, "answer": CANARY}]})
    yield client.post("/deletions", json={**REQUEST, "targets": [{"text": ADDRESS, "spans": [CANARY]}]})
    yield client.get("/deletions", params={NAME: 1})
    yield client.get(f"/{NAME}", params={NAME: NAME})
    yield client.get("/", params={NAME: 1, "status": NAME}, headers={"accept": "text/html"})
    yield client.post("/session", json={"key": NAME, NAME: 1})
    yield client.post("/webhooks", json={"url": NAME, NAME: 1})
    yield client.post("/deletions/search", json={"data_subject": CANARY, "limit": CANARY})
    yield client.post(f"{deletion}/extend", json={"months": 1, "reason": CANARY})
    yield client.post("/deletions", content=CANARY, headers={"content-type": "application/json"})
    yield client.post("/models", json={"id": "x", "source": CANARY})
    yield client.request("PURGE", f"/{CANARY}")


def test_the_canary_is_found_nowhere_in_clear(
    client: TestClient, lines: Lines, spans: InMemorySpanExporter, httpserver: HTTPServer, request
):
    services, search = wired(client), Search(f"in one process, {request.node.callspec.id}")
    httpserver.expect_request("/told").respond_with_data()
    client.post("/webhooks", json={"url": httpserver.url_for("/told")})
    posted = client.post(
        "/deletions",
        json={**REQUEST, "callback_url": httpserver.url_for("/told")},
        headers={"Idempotency-Key": CANARY, "User-Agent": CANARY},
    )
    assert posted.status_code == 202
    search.through_broker(services.settings)  # while the bell is still there
    worker_on(services, TellingPipeline()).runner.work()
    worker_on(services, KnowingPipeline(), "wrk_second").runner.work()
    seen = client.get(posted.headers["location"]).json()
    assert (seen["status"], seen["reference"]) == ("completed", CANARY)
    assert client.get(seen["links"]["report"]).json()["evidence"]["held_out_views"][0]["reply_before"] == ADDRESS
    found = client.post("/deletions/search", json={"data_subject": REQUEST["data_subject"]}).json()["items"]
    assert [item["id"] for item in found] == [seen["id"]]
    for answer in wrong_calls(client, seen["links"]["self"]):
        assert 400 <= answer.status_code < 500, answer.url
        search.through("error bodies", answer.content)
        search.through("error headers", repr(answer.headers.raw))
    through_answers(client, seen, search)
    services.courier.sweep()
    for called, _answer in httpserver.log:
        search.through("webhooks", repr(called.headers).encode() + called.get_data())
    for span in spans.get_finished_spans():
        search.through("traces", span.to_json())
    through_records(services, search)
    assert {"request", "the run failed", "run ended"} <= {line["event"] for line in lines()}
    for line in lines():
        search.through("logs at DEBUG", json.dumps(line))
    assert set(search.log) >= LOOKED
    assert search.hits == []


def through_answers(client: TestClient, seen: dict[str, Any], search: Search) -> None:
    """What is handed out and is not the requester's own: their reference is theirs to see."""
    search.through("certificate", client.get(seen["links"]["certificate"]).content)
    search.through("audit log", client.get("/audit", params={"limit": 100}).content)
    search.through("adapter", client.get(seen["links"]["adapter"]).content)
    listed = client.get("/deletions").json()["items"]
    search.through("lists", json.dumps([{**item, "reference": None} for item in listed]))
    search.through("metrics", client.get("/metrics").content)


def through_records(services: Services, search: Search) -> None:
    """What lies on disks and in the broker."""
    search.through_database(services.database)
    if not services.database.sqlite:
        search.through_dump(services.settings.database)
    search.through_broker(services.settings)
    search.through_folder(services.settings.data_dir)


@pytest.mark.parametrize("word", [CANARY, NAME, STREET])
def test_the_search_for_the_canary_can_fail(word: str):
    inside = [base64.b64encode(b"x" * shift + word.encode() + b"yz") for shift in range(4)]
    for hidden in (word, word.upper(), f"x{word}y".encode(), word.encode("utf-16-le"), word.encode().hex(), *inside):
        search = Search()
        search.through("here", hidden)
        search.through("there", "nothing")
        assert search.hits == ["here"], hidden


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Configured logging into a buffer, everything that is said, and back to what it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    configure_logging("DEBUG")
    (handler,) = root.handlers
    buffer = io.StringIO()
    handler.setStream(buffer)
    yield lambda: [json.loads(line) for line in buffer.getvalue().splitlines()]
    root.handlers, root.level = before


def test_a_log_line_keeps_ids_and_drops_what_is_not_listed(lines: Lines):
    structlog.get_logger("app.x").info("deletion claimed", deletion_id="del_1", prompt=CANARY, answer=CANARY)
    (line,) = lines()
    assert (line["event"], line["deletion_id"], line["level"]) == ("deletion claimed", "del_1", "info")
    assert CANARY not in json.dumps(line)


def test_an_errors_message_is_not_logged_but_its_type_and_place_are(lines: Lines):
    try:
        raise ValueError(CANARY)
    except ValueError:
        structlog.get_logger("app.x").exception("a sweep failed")
        logging.getLogger("somebody.else").exception("it broke", extra={"prompt": CANARY})
    for line in lines():
        assert line["error"] == "ValueError"
        assert line["frames"][-1].startswith("test_privacy.py:")
        assert CANARY not in json.dumps(line)


def test_access_logs_with_whole_addresses_are_off(lines: Lines):
    logging.getLogger("uvicorn.access").info("GET /deletions?reference=%s", CANARY)
    assert lines() == []
