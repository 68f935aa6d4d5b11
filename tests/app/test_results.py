"""The report and the adapter: when there is one, byte for byte, in ranges, and for nobody too early."""

import base64
import hashlib
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app import clock
from app.access import LOCAL
from app.deletions import _get, _move
from app.errors import NotInReview
from app.models import AuditEvent, Outcome
from app.report import VerdictKind
from app.transitions import Event
from tests.conftest import FRANCE, FakePipeline, wired, worker_on


@pytest.fixture
def done(client: TestClient):
    """A completed deletion's address."""
    path = client.post("/deletions", json=FRANCE).headers["location"]
    worker_on(wired(client), FakePipeline()).runner.work()
    return path


def test_a_completed_deletion_links_to_its_report_and_adapter(client: TestClient, done):
    seen = client.get(done).json()
    assert (seen["status"], seen["outcome"], seen["progress"], seen["approved"]) == ("completed", "forgotten", 1, False)
    report = client.get(seen["links"]["report"]).json()
    assert report["figures"]["verdict"]["kind"] == "passed"
    assert report["evidence"]["held_out_views"][0]["reply_before"] == "Paris"
    assert client.get(seen["links"]["adapter"]).status_code == 200


def test_the_zip_holds_the_peft_folder_and_its_etag_is_its_hash(client: TestClient, done):
    answer = client.get(f"{done}/adapter")
    digest = hashlib.sha256(answer.content)
    assert answer.headers["etag"] == f'"{digest.hexdigest()}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["accept-ranges"] == "bytes"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert {name: archive.read(name) for name in archive.namelist()} == FakePipeline().adapter


def test_the_same_adapter_makes_the_same_zip(client: TestClient, done):
    again = client.post("/deletions", json=FRANCE).headers["location"]
    worker_on(wired(client), FakePipeline(), "wrk_second").runner.work()
    assert client.get(f"{again}/adapter").content == client.get(f"{done}/adapter").content


def test_each_file_can_be_had_by_itself(client: TestClient, done):
    for name, content in FakePipeline().adapter.items():
        answer = client.get(f"{done}/adapter/{name}")
        assert (answer.status_code, answer.content) == (200, content)
    missing = client.get(f"{done}/adapter/adapter_model.bin")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/adapter-file-not-found")
    assert client.get(f"{done}/adapter/adapter.zip").status_code == 404
    assert client.get(f"{done}/adapter/..%2F..%2Fmaster.key").status_code == 404


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, 2048), ("bytes=-48", 2000, 2048), ("bytes=2040-9999", 2040, 2048),
     ("bytes=-9999", 0, 2048)],
)  # fmt: skip
def test_a_range_is_sent_alone(client: TestClient, done, wanted, start, stop):
    answer = client.get(f"{done}/adapter/adapter_model.safetensors", headers={"Range": wanted})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/2048"
    assert answer.content == (bytes(range(256)) * 8)[start:stop]


@pytest.mark.parametrize("wanted", ["bytes=5-2", "bytes=0-1,5-6", "lines=1-2", "bytes=-", "bytes=a-b"])
def test_what_is_no_single_range_is_ignored(client: TestClient, done, wanted):
    answer = client.get(f"{done}/adapter/README.md", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, b"# An adapter\n")


@pytest.mark.parametrize("wanted", ["bytes=2048-", "bytes=-0"])
def test_a_range_beyond_the_file_is_a_problem(client: TestClient, done, wanted):
    answer = client.get(f"{done}/adapter/adapter_model.safetensors", headers={"Range": wanted})
    assert (answer.status_code, answer.json()["type"]) == (416, "/problems/range-not-satisfiable")
    assert answer.headers["content-range"] == "bytes */2048"


def test_a_resumed_download_starts_over_when_the_file_is_another(client: TestClient, done):
    path = f"{done}/adapter/README.md"
    etag = client.get(path).headers["etag"]
    same = client.get(path, headers={"Range": "bytes=2-", "If-Range": etag})
    other = client.get(path, headers={"Range": "bytes=2-", "If-Range": '"another"'})
    assert (same.status_code, same.content) == (206, b"An adapter\n")
    assert (other.status_code, other.content) == (200, b"# An adapter\n")


def test_what_the_caller_has_is_not_sent_again(client: TestClient, done):
    etag = client.get(f"{done}/adapter").headers["etag"]
    for header in (etag, f'"x", W/{etag}', "*"):
        answer = client.get(f"{done}/adapter", headers={"If-None-Match": header})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert client.get(f"{done}/adapter", headers={"If-None-Match": '"x"'}).status_code == 200


def test_head_tells_what_get_would_send(client: TestClient, done):
    full, head = client.get(f"{done}/adapter"), client.head(f"{done}/adapter")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "repr-digest", "content-type"):
        assert head.headers[name] == full.headers[name]


def test_every_download_is_logged(client: TestClient, done):
    client.get(f"{done}/adapter")
    client.head(f"{done}/adapter")
    with wired(client).database.read() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.action == "adapter.downloaded")).all()
    assert [event.details for event in events] == [{"file": "adapter.zip"}]


@pytest.mark.parametrize("what", ["adapter", "adapter/README.md", "report"])
def test_nothing_is_there_too_early(client: TestClient, what):
    path = client.post("/deletions", json=FRANCE).headers["location"]
    answer = client.get(f"{path}/{what}")
    slug = "report-not-ready" if what == "report" else "adapter-not-ready"
    assert (answer.status_code, answer.json()["type"]) == (409, f"/problems/{slug}")


def test_what_was_not_known_has_a_report_and_no_adapter(client: TestClient):
    path = client.post("/deletions", json=FRANCE).headers["location"]
    worker_on(wired(client), FakePipeline(VerdictKind.NOT_KNOWN)).runner.work()
    seen = client.get(path).json()
    assert (seen["status"], seen["outcome"], seen["links"]["adapter"]) == ("completed", "not_known", None)
    assert client.get(f"{path}/report").status_code == 200
    answer = client.get(f"{path}/adapter")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/no-adapter")


def test_a_file_lost_from_the_store_is_a_problem(client: TestClient, done):
    for path in wired(client).settings.artefacts.rglob("adapter.zip"):
        path.unlink()
    answer = client.get(f"{done}/adapter")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/artefact-missing")


def test_of_two_decisions_at_once_the_second_sees_the_first(client: TestClient):
    services = wired(client)
    deletion_id = client.post("/deletions", json=FRANCE).json()["id"]
    worker_on(services, FakePipeline(VerdictKind.MISSED)).runner.work()
    with ThreadPoolExecutor(1) as pool:
        with services.database.write() as session:
            row = _get(session, LOCAL, deletion_id, lock=True)
            _move(row, Event.APPROVE, clock.now(), NotInReview())
            row.outcome, row.approved = Outcome.FORGOTTEN, True
            rejecting = pool.submit(client.post, f"/deletions/{deletion_id}/reject")
            with pytest.raises(TimeoutError):
                rejecting.result(timeout=0.5)  # it waits
        answer = rejecting.result()
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-in-review")
    assert client.get(f"/deletions/{deletion_id}/adapter").status_code == 200
