"""What belongs to one tenant is not there for another, whatever its key may do: not found, and nothing changed."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.access import Scope
from app.report import VerdictKind
from app.settings import Settings
from tests.app.test_access import key
from tests.conftest import CANARY, FRANCE, FakePipeline, caller, wired, worker_on

OTHERS_DELETION = (
    ("GET", "", None),
    ("DELETE", "", None),
    ("GET", "/events", None),
    ("GET", "/report", None),
    ("GET", "/report/views.png", None),
    ("GET", "/adapter", None),
    ("HEAD", "/adapter", None),
    ("GET", "/adapter/README.md", None),
    ("GET", "/certificate", None),
    ("GET", "/commitment", None),
    ("POST", "/extend", {"months": 1, "reason": "complexity"}),
    ("DELETE", "/personal-data", None),
    ("POST", "/approve", None),
    ("POST", "/reject", None),
    ("POST", "/retry", None),
)


@pytest.fixture
def locked(settings: Settings):
    """An API that asks everybody for a key, with a webhook of this machine allowed."""
    with caller(settings.model_copy(update={"authentication": "required", "webhook_allow_private": True})) as client:
        yield client


def test_an_idempotency_key_is_each_api_keys_own(locked: TestClient):
    ids = []
    for headers in (key(locked, Scope.DELETIONS_WRITE), key(locked, Scope.DELETIONS_WRITE)):
        sent = [locked.post("/deletions", json=FRANCE, headers=headers | {"Idempotency-Key": "1"}) for _ in range(2)]
        assert [answer.status_code for answer in sent] == [202, 202]
        ids += [answer.json()["id"] for answer in sent]
    assert (ids[0], ids[2]) == (ids[1], ids[3])
    assert ids[0] != ids[2], "two programs of a tenant that both count from one swallow each other's deletions"


@pytest.fixture
def mine(locked: TestClient) -> dict[str, str]:
    """One tenant's administrator."""
    return key(locked, Scope.ADMIN)


@pytest.fixture
def other(locked: TestClient) -> dict[str, str]:
    """Another tenant's administrator."""
    return key(locked, Scope.ADMIN, tenant="rival")


def submitted(locked: TestClient, header: dict[str, str], kind: VerdictKind = VerdictKind.PASSED, **more: Any) -> str:
    """The path of a deletion that a worker has ended."""
    path = locked.post("/deletions", json={**FRANCE, **more}, headers=header).headers["location"]
    worker_on(wired(locked), FakePipeline(kind), f"wrk_{path[-8:]}").runner.work()
    return path


def events(locked: TestClient, header: dict[str, str]) -> list[tuple[str, str | None]]:
    """What the audit log shows a caller."""
    items = locked.get("/audit", params={"limit": 100}, headers=header).json()["items"]
    return [(event["action"], event["deletion_id"]) for event in items]


@pytest.mark.parametrize("kind", [VerdictKind.MISSED, VerdictKind.PASSED])
def test_another_tenants_deletion_is_not_there(locked: TestClient, mine, other, kind: VerdictKind):
    path = submitted(locked, mine, kind)
    before = locked.get(path, headers=mine).json()
    for method, rest, body in OTHERS_DELETION:
        answer = locked.request(method, path + rest, headers=other, json=body)
        assert answer.status_code == 404, (method, rest)
        if method != "HEAD":
            assert answer.json()["type"] == "/problems/deletion-not-found", (method, rest)
    assert locked.get("/deletions", headers=other).json()["items"] == []
    assert locked.get(path, headers=mine).json() == before


def test_the_owner_gets_what_the_other_did_not(locked: TestClient, mine):
    path = submitted(locked, mine)
    for rest in ("", "/report", "/adapter", "/adapter/README.md", "/certificate", "/commitment"):
        assert locked.get(path + rest, headers=mine).status_code == 200, rest
    assert locked.get(f"{path}/certificate", headers=mine).json()["statement"]["tenant"] == "acme"
    assert len(locked.get(f"{path}/commitment", headers=mine).json()["salt"]) == 64
    assert locked.delete(f"{path}/personal-data", headers=mine).json()["purged_at"]
    assert locked.get(f"{path}/commitment", headers=mine).status_code == 410


def test_a_data_subject_is_found_among_the_callers_own_deletions_only(locked: TestClient, mine, other):
    paths = {who: submitted(locked, header, data_subject=CANARY) for who, header in (("m", mine), ("o", other))}
    for who, header in (("m", mine), ("o", other)):
        items = locked.post("/deletions/search", json={"data_subject": CANARY}, headers=header).json()["items"]
        assert [item["links"]["self"] for item in items] == [paths[who]]
    stranger = key(locked, Scope.DELETIONS_READ, tenant="third")
    assert locked.post("/deletions/search", json={"data_subject": CANARY}, headers=stranger).json()["items"] == []


def test_the_audit_log_shows_a_caller_its_own_tenants_events_only(locked: TestClient, mine, other):
    path = submitted(locked, mine)
    deletion = path.rpartition("/")[2]
    assert ("deletion.accepted", deletion) in events(locked, mine)
    assert deletion not in {event[1] for event in events(locked, other)}
    asked = locked.get("/audit", params={"deletion": deletion}, headers=other)
    assert (asked.status_code, asked.json()["items"]) == (200, [])


def test_another_tenants_webhook_is_not_there(locked: TestClient, mine, other):
    webhook = locked.post("/webhooks", json={"url": "http://127.0.0.1:9/told"}, headers=mine).json()["id"]
    for method, rest in (("DELETE", ""), ("POST", "/rotate"), ("GET", "/deliveries")):
        answer = locked.request(method, f"/webhooks/{webhook}{rest}", headers=other)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/webhook-not-found")
    assert locked.get("/webhooks", headers=other).json()["items"] == []
    (listed,) = locked.get("/webhooks", headers=mine).json()["items"]
    assert (listed["disabled_at"], listed["retiring_until"]) == (None, None)
    told = locked.post("/deletions", json={**FRANCE, "callback_url": "http://127.0.0.1:9/told"}, headers=other)
    assert (told.status_code, told.json()["type"]) == (422, "/problems/unknown-callback")


def test_tenants_may_use_the_same_idempotency_key(locked: TestClient):
    once = {"Idempotency-Key": "same"}
    ids = set()
    keys = {tenant: key(locked, Scope.DELETIONS_WRITE, tenant=tenant) for tenant in ("acme", "rival")}
    for header in (keys["acme"], keys["rival"], keys["acme"]):
        ids.add(locked.post("/deletions", json=FRANCE, headers=header | once).json()["id"])
    assert len(ids) == 2
