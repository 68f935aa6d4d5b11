"""A name that was planted as personal data is found in clear nowhere."""

import base64
import io
import json
import logging

import pytest
import redis
import structlog
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.logs import configure_logging
from app.models import Base
from app.report import VerdictKind
from tests.conftest import CANARY, NAME, FakePipeline, report_of, wired, worker_on

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


NEEDLES = (CANARY.encode(), NAME.encode(), CANARY.encode("utf-16-le"), CANARY.encode().hex().encode())


class Search:
    """Looks for the canary, and keeps a log of where it has looked."""

    def __init__(self):
        self.log = {}

    def through(self, place, content):
        """Fail if the canary is in there, in whatever spelling of its bytes or its letters' case."""
        raw = content if isinstance(content, bytes) else str(content).encode()
        for needle in (*NEEDLES, base64.b64encode(CANARY.encode())[:-4]):
            assert needle.lower() not in raw.lower(), place
        files, size = self.log.get(place, (0, 0))
        self.log[place] = files + 1, size + len(raw)

    def print(self):
        """Where it has looked."""
        print(f"\n{'searched for the canary':28} {'pieces':>7} {'bytes':>9}")  # noqa: T201
        for place, (pieces, size) in self.log.items():
            print(f"{place:28} {pieces:7} {size:9}")  # noqa: T201


def test_the_canary_is_found_nowhere_in_clear(client: TestClient, lines, capsys):
    services, search = wired(client), Search()
    deletion = client.post("/deletions", json=REQUEST, headers={"Idempotency-Key": CANARY})
    assert deletion.status_code == 202
    search_broker(services, search)  # while the bell is still there
    worker_on(services, TellingPipeline()).runner.work()
    worker_on(services, KnowingPipeline(), "wrk_second").runner.work()
    seen = client.get(deletion.headers["location"]).json()
    assert (seen["status"], seen["reference"]) == ("completed", CANARY)
    assert client.get(seen["links"]["report"]).json()["evidence"]["held_out_views"][0]["reply_before"] == CANARY
    assert client.post("/deletions/search", json={"data_subject": CANARY}).json()["items"][0]["id"] == seen["id"]

    for answer in (
        client.get(f"/deletions/{CANARY}"),
        client.get(f"/{CANARY}"),
        client.get("/deletions", params={"reference": CANARY, "cursor": CANARY}),
        client.get("/audit", params={"cursor": CANARY, "deletion": CANARY}),
        client.get("/audit/verify", params={"hash": CANARY}),
        client.get(f"{seen['links']['self']}/adapter/{CANARY}"),
        client.post("/deletions", json={**REQUEST, CANARY: CANARY}),
        client.post("/deletions", json={**REQUEST, NAME: 1}),
        client.post("/deletions", json={**REQUEST, "options": {NAME: 1}}),
        client.get("/deletions", params={NAME: 1}),
        client.get(f"/{NAME}", params={NAME: NAME}),
        client.get("/", params={NAME: 1, "status": NAME}, headers={"accept": "text/html"}),
        client.post("/session", json={"key": NAME, NAME: 1}),
        client.post("/webhooks", json={"url": NAME, NAME: 1}),
        client.post("/deletions", json={**REQUEST, "model": CANARY}),
        client.post("/deletions", json={**REQUEST, "legal_basis": CANARY}),
        client.post("/deletions/search", json={"data_subject": CANARY, "limit": CANARY}),
        client.post(f"{seen['links']['self']}/extend", json={"months": 1, "reason": CANARY}),
        client.post("/deletions", content=CANARY, headers={"content-type": "application/json"}),
        client.post("/models", json={"id": "x", "source": CANARY}),
        client.request("PURGE", f"/{CANARY}"),
    ):
        assert 400 <= answer.status_code < 500, answer.url
        search.through("error bodies", answer.content)
        search.through("error headers", repr(answer.headers.raw).encode())
    search.through("certificate", client.get(seen["links"]["certificate"]).content)
    search.through("audit log", client.get("/audit", params={"limit": 100}).content)
    search.through("adapter", client.get(seen["links"]["adapter"]).content)
    search.through(
        "lists", json.dumps([{**item, "reference": None} for item in client.get("/deletions").json()["items"]])
    )
    search_database(services, search)
    search_broker(services, search)
    for path in services.settings.data_dir.rglob("*"):
        if path.is_file():
            kind = (
                "SQLite's log" if path.name.endswith("-wal") else path.relative_to(services.settings.data_dir).parts[0]
            )
            search.through(f"file: {kind}", path.read_bytes())
            search.through("file names", str(path.relative_to(services.settings.data_dir)))
    events = [line["event"] for line in lines()]
    assert {"request", "the run failed", "run ended"} <= set(events)
    search.through("logs", json.dumps(lines()))
    with capsys.disabled():
        search.print()
    assert {"error bodies", "certificate", "audit log", "logs", "bells", "table deletions"} <= set(search.log)


def search_database(services, search):
    """Every row of every table, each column as it is."""
    with services.database.read() as session:
        for table in Base.metadata.sorted_tables:
            for row in session.execute(text(f"SELECT * FROM {table.name}")).all():
                for value in row:
                    search.through(
                        f"table {table.name}", bytes(value) if isinstance(value, memoryview) else value or ""
                    )


def search_broker(services, search):
    """The messages that are on the broker, with the tasks' arguments in them in base64."""
    if services.settings.broker_url.startswith("filesystem"):
        messages = [path.read_bytes() for path in services.settings.broker_dir.rglob("*") if path.is_file()]
    else:
        with redis.Redis.from_url(services.settings.broker_url) as broker:
            keys = list(broker.scan_iter(f"{services.settings.broker_prefix}*"))
            messages = [message for key in keys if broker.type(key) == b"list" for message in broker.lrange(key, 0, -1)]
    for message in messages:
        search.through("bells", message)
        search.through("tasks' arguments", base64.b64decode(json.loads(message)["body"]))


def test_the_search_for_the_canary_can_fail():
    for hidden in (CANARY, CANARY.upper(), f"x{CANARY}y".encode(), CANARY.encode("utf-16-le"), CANARY.encode().hex()):
        with pytest.raises(AssertionError):
            Search().through("here", hidden)


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
