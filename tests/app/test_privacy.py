"""A name that was planted as personal data is found in clear nowhere."""

import io
import json
import logging

import pytest
import structlog
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.logs import configure_logging
from app.models import Base
from app.report import VerdictKind
from tests.conftest import CANARY, FakePipeline, report_of, wired, worker_on

REQUEST = {
    "model": "smollm2-135m-instruct",
    "targets": [
        {"prompt": f"Where does {CANARY} live?", "answer": CANARY, "aliases": [CANARY[:8] + CANARY[8:]]},
        {"text": f"It is known that {CANARY} lives there.", "spans": [CANARY]},
    ],
    "retain": [{"prompt": f"Who is not {CANARY}?", "answer": CANARY}],
    "data_subject": CANARY,
    "reference": CANARY,
}


class TellingPipeline(FakePipeline):
    """Fails, saying in its message what it should not."""

    def __call__(self, request, loaded, checkpoint):
        raise ValueError(f"cannot forget {request.targets[0].answer}")


class KnowingPipeline(FakePipeline):
    """Reports the personal data as evidence, as a real one does."""

    def __call__(self, request, loaded, checkpoint):
        result = super().__call__(request, loaded, checkpoint)
        return type(result)(result.outcome, report_of(VerdictKind.PASSED, said=CANARY), result.adapter)


def test_the_canary_is_found_nowhere_in_clear(client: TestClient, lines):
    services = wired(client)
    deletion = client.post("/deletions", json=REQUEST, headers={"Idempotency-Key": CANARY})
    assert deletion.status_code == 202
    worker_on(services, TellingPipeline()).runner.work()
    worker_on(services, KnowingPipeline(), "wrk_second").runner.work()
    seen = client.get(deletion.headers["location"]).json()
    assert (seen["status"], seen["reference"]) == ("completed", CANARY)
    assert client.get(seen["links"]["report"]).json()["evidence"]["held_out_views"][0]["reply_before"] == CANARY
    client.get(f"/deletions/{CANARY}")
    client.get(f"/{CANARY}")
    client.get("/deletions", params={"reference": CANARY, "cursor": CANARY})
    client.post("/deletions", json={**REQUEST, CANARY: CANARY})

    with services.database.read() as session:
        for table in Base.metadata.sorted_tables:
            rows = session.execute(text(f"SELECT * FROM {table.name}")).all()
            assert CANARY not in repr(rows), table.name
            assert CANARY.encode() not in b"".join(v for row in rows for v in row if isinstance(v, bytes)), table.name
    for path in services.settings.data_dir.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
    events = [line["event"] for line in lines()]
    assert {"request", "the run failed", "run ended"} <= set(events)
    assert CANARY not in json.dumps(lines())


@pytest.fixture
def lines():
    """Configured logging into a buffer, and back to what it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    configure_logging("INFO")
    (handler,) = root.handlers
    buffer = io.StringIO()
    handler.setStream(buffer)
    yield lambda: [json.loads(line) for line in buffer.getvalue().splitlines()]
    root.handlers, root.level = before


def test_a_log_line_keeps_ids_and_drops_what_is_not_listed(lines):
    structlog.get_logger("app.x").info("deletion claimed", deletion_id="del_1", prompt=CANARY, answer=CANARY)
    (line,) = lines()
    assert (line["event"], line["deletion_id"], line["level"]) == ("deletion claimed", "del_1", "info")
    assert CANARY not in json.dumps(line)


def test_an_errors_message_is_not_logged_but_its_type_and_place_are(lines):
    try:
        raise ValueError(CANARY)
    except ValueError:
        structlog.get_logger("app.x").exception("a sweep failed")
        logging.getLogger("somebody.else").exception("it broke", extra={"prompt": CANARY})
    for line in lines():
        assert line["error"] == "ValueError"
        assert line["frames"][-1].startswith("test_privacy.py:")
        assert CANARY not in json.dumps(line)


def test_access_logs_with_whole_addresses_are_off(lines):
    logging.getLogger("uvicorn.access").info("GET /deletions?reference=%s", CANARY)
    assert lines() == []
