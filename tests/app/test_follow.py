"""Listing, cancelling, retrying, and the decisions of operators."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import inspect

from app import listing
from app.access import DEFAULT_TENANT
from app.report import VerdictKind
from tests.conftest import FRANCE, FakePipeline, wired, worker_on


def submit(client, **more):
    return client.post("/deletions", json={**FRANCE, **more}).json()["id"]


def reviewed(client, pipeline=None):
    """A deletion that awaits a review."""
    deletion_id = submit(client)
    worker_on(wired(client), pipeline or FakePipeline(VerdictKind.MISSED)).runner.work()
    return deletion_id


def test_pages_are_newest_first_and_stay_put_while_new_ones_arrive(client: TestClient):
    made = [submit(client) for _ in range(5)]
    first = client.get("/deletions", params={"limit": 2})
    submit(client)
    second = client.get(first.links["next"]["url"])
    third = client.get("/deletions", params={"limit": 2, "cursor": second.json()["next"]})
    listed = [item["id"] for page in (first, second, third) for item in page.json()["items"]]
    assert listed == made[::-1]
    assert third.json()["next"] is None
    assert "link" not in third.headers


def test_a_page_leaves_what_it_does_not_show_in_the_database(client: TestClient):
    submit(client)
    ((row,), _following) = listing.page(wired(client).database, listing.Filter(DEFAULT_TENANT), 20, None)
    assert {"sealed_payload", "sealed_evidence"} <= inspect(row).unloaded


def test_the_list_can_be_narrowed(client: TestClient):
    first, second = submit(client, reference="case-1"), submit(client, reference="case-2")
    client.delete(f"/deletions/{first}")

    def ids(**query):
        return [item["id"] for item in client.get("/deletions", params=query).json()["items"]]

    assert ids(status="canceled") == [first]
    assert ids(reference="case-2") == [second]
    assert ids(model="smollm2-135m-instruct") == [second, first]
    assert ids(model="another") == []


def test_the_next_link_keeps_the_filter(client: TestClient):
    for _ in range(3):
        submit(client, reference="case-1")
        submit(client)
    page = client.get("/deletions", params={"limit": 2, "reference": "case-1"})
    assert [item["reference"] for item in client.get(page.links["next"]["url"]).json()["items"]] == ["case-1"]


@pytest.mark.parametrize("cursor", ["x", "!!!!", "MTpkZWxfMDE", "AAAA", "MTpkZWxf" * 10, "é"])
def test_a_malformed_cursor_is_refused(client: TestClient, cursor):
    answer = client.get("/deletions", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/malformed-cursor")


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"limit": "many"}, {"status": "lost"}])
def test_a_wrong_query_is_refused(client: TestClient, query):
    answer = client.get("/deletions", params=query)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


CALLS = [("GET", ""), ("GET", "/events"), ("DELETE", ""), ("POST", "/retry"), ("POST", "/approve"), ("POST", "/reject")]
CALLS += [("GET", "/report"), ("GET", "/adapter"), ("HEAD", "/adapter"), ("GET", "/adapter/README.md")]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_an_unknown_id_is_not_found_and_a_malformed_one_is_told_so(client: TestClient, method, path):
    unknown = client.request(method, f"/deletions/del_{'0' * 32}{path}")
    malformed = client.request(method, f"/deletions/42{path}")
    assert (unknown.status_code, malformed.status_code) == (404, 400)
    if method != "HEAD":
        assert unknown.json()["type"] == "/problems/deletion-not-found"
        assert malformed.json()["type"] == "/problems/malformed-id"


def test_a_queued_deletion_is_canceled_at_once(client: TestClient):
    deletion_id = submit(client)
    answer = client.delete(f"/deletions/{deletion_id}")
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert answer.json()["finished_at"] is not None
    assert worker_on(wired(client), FakePipeline()).runner.work() is None


def test_a_running_deletion_is_canceled_at_its_next_check(client: TestClient):
    deletion_id, answers = submit(client), []
    pipeline = FakePipeline(meanwhile=lambda stage: answers.append(client.delete(f"/deletions/{deletion_id}")))
    worker_on(wired(client), pipeline).runner.work()
    (answer,) = answers
    assert (answer.status_code, answer.json()["status"], answer.json()["cancel_requested"]) == (202, "running", True)
    assert client.get(f"/deletions/{deletion_id}").json()["status"] == "canceled"


@pytest.mark.parametrize("kind", [VerdictKind.PASSED, VerdictKind.NOT_KNOWN, VerdictKind.MISSED])
def test_what_has_finished_cannot_be_canceled(client: TestClient, kind):
    deletion_id = reviewed(client, FakePipeline(kind))
    before = client.get(f"/deletions/{deletion_id}").json()
    answer = client.delete(f"/deletions/{deletion_id}")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/already-finished")
    assert client.get(f"/deletions/{deletion_id}").json() == before


def test_a_canceled_deletion_can_be_retried_with_a_fresh_budget(client: TestClient):
    deletion_id = submit(client)
    due = client.delete(f"/deletions/{deletion_id}").json()["due_at"]
    answer = client.post(f"/deletions/{deletion_id}/retry")
    assert answer.status_code == 202
    seen = answer.json()
    assert (seen["status"], seen["attempt"], seen["finished_at"], seen["due_at"]) == ("queued", 0, None, due)
    worker_on(wired(client), FakePipeline()).runner.work()
    assert client.get(f"/deletions/{deletion_id}").json()["outcome"] == "forgotten"


def test_only_what_failed_or_was_canceled_can_be_retried(client: TestClient):
    answer = client.post(f"/deletions/{submit(client)}/retry")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-retryable")


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_only_what_needs_review_can_be_decided_on(client: TestClient, decision):
    answer = client.post(f"/deletions/{submit(client)}/{decision}")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-in-review")


@pytest.mark.parametrize("kind", [VerdictKind.MISSED, VerdictKind.INSUFFICIENT_EVIDENCE])
def test_an_adapter_that_missed_is_published_only_when_approved(client: TestClient, kind):
    deletion_id = reviewed(client, FakePipeline(kind))
    held = client.get(f"/deletions/{deletion_id}/adapter")
    assert (held.status_code, held.json()["type"]) == (409, "/problems/adapter-in-review")
    assert client.get(f"/deletions/{deletion_id}/report").status_code == 200
    approved = client.post(f"/deletions/{deletion_id}/approve").json()
    assert (approved["status"], approved["outcome"], approved["approved"]) == ("completed", "forgotten", True)
    assert client.get(approved["links"]["adapter"]).status_code == 200


def test_a_rejected_adapter_is_gone_and_its_report_stays(client: TestClient):
    deletion_id = reviewed(client)
    folder = wired(client).settings.artefacts / deletion_id
    assert folder.exists()
    rejected = client.post(f"/deletions/{deletion_id}/reject").json()
    assert (rejected["status"], rejected["error"]["code"]) == ("failed", "rejected")
    assert not folder.exists()
    answer = client.get(f"/deletions/{deletion_id}/adapter")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/no-adapter")
    assert client.get(f"/deletions/{deletion_id}/report").status_code == 200
