"""POST /deletions: what is accepted, once, and what is refused, each with a problem of its own."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from app import clock
from app.api import deletions as submitting
from app.errors import PromptTooLong
from app.models import AuditEvent, Deletion, IdempotencyKey
from tests.conftest import CANARY, FRANCE, NAME, wired


def count(client, table):
    with wired(client).database.read() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_an_accepted_request_says_where_to_follow_it_and_when_it_is_due(client: TestClient):
    answer = client.post("/deletions", json=FRANCE | {"reference": "case-7"})
    assert answer.status_code == 202
    receipt = answer.json()
    assert answer.headers["location"] == f"/deletions/{receipt['id']}" == receipt["links"]["self"]
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["cache-control"] == "no-store"
    seen = client.get(answer.headers["location"]).json()
    assert (seen["status"], seen["progress"], seen["attempt"], seen["reference"]) == ("queued", 0.0, 0, "case-7")
    assert datetime.fromisoformat(seen["due_at"]) == clock.months_after(datetime.fromisoformat(seen["created_at"]))
    assert seen["links"] == {
        "self": f"/deletions/{receipt['id']}",
        "report": None,
        "adapter": None,
        "certificate": None,
    }


@pytest.mark.parametrize(
    ("received", "due"),
    [((2026, 1, 31), (2026, 2, 28)), ((2028, 1, 31), (2028, 2, 29)), ((2026, 12, 15), (2027, 1, 15))],
)
def test_a_month_ends_where_the_calendar_says(received, due):
    assert clock.months_after(datetime(*received, tzinfo=UTC)) == datetime(*due, tzinfo=UTC)


def test_the_request_is_written_with_its_audit_event(client: TestClient):
    deletion_id = client.post("/deletions", json=FRANCE).json()["id"]
    with wired(client).database.read() as session:
        (event,) = session.scalars(select(AuditEvent))
    assert (event.action, event.deletion_id, event.details) == ("deletion.accepted", deletion_id, {"targets": 1})


WRONG = {
    "a method without an adapter": ({"options": {"method": "eco"}}, "invalid-request", "options/method"),
    "a method that does not exist": ({"options": {"method": "magic"}}, "invalid-request", "options/method"),
    "an unknown model": ({"model": "no-such-model"}, "unknown-model", "model"),
    "no targets": ({"targets": []}, "no-targets", "targets"),
    "too many targets": ({"targets": FRANCE["targets"] * 17}, "too-many-targets", "targets"),
    "an empty answer": ({"targets": [{"prompt": "Who?", "answer": ""}]}, "blank-answer", "targets/0/answer"),
    "a blank answer": ({"targets": [{"prompt": "Who?", "answer": " \u200b\n"}]}, "blank-answer", "targets/0/answer"),
    "an answer of marks": ({"targets": [{"prompt": "Who?", "answer": "!!!"}]}, "blank-answer", "targets/0/answer"),
    "what must go, retained": (
        {
            "targets": [{"prompt": "What is the capital of France?", "answer": "Paris"}],
            "retain": [{"prompt": "Who is Paris Hilton?"}, {"prompt": "What is the capital of FRANCE"}],
        },
        "retained-target", "",
    ),
    "an answer that must go, retained": (
        {
            "targets": [{"text": "Alice met Bob Lee.", "spans": ["Bob Lee"]}],
            "retain": [{"prompt": "Who met Eve?", "answer": "It was Bob Lee"}],
        },
        "retained-target", "",
    ),
    "a blank prompt": ({"targets": [{"prompt": " ", "answer": "x"}]}, "invalid-request", "targets/0/prompt"),
    "a NUL": ({"targets": [{"prompt": "a\0b", "answer": "x"}]}, "invalid-request", "targets/0/prompt"),
    "a blank name": ({"targets": [{"about": " "}]}, "invalid-request", "targets/0/about"),
    "a name and a passage": (
        {"targets": [{"about": "Jane Doe", "text": "a b", "spans": ["b"]}]}, "unknown-field", "targets/0/…",
    ),
    "a span that is not in the text": (
        {"targets": [{"text": "Alice met Bob.", "spans": ["Carol"]}]}, "span-not-in-text", "targets/0",
    ),
    "a span without words before it": (
        {"targets": [{"text": "Alice met Bob.", "spans": ["Alice"]}]}, "span-starts-text", "targets/0",
    ),
    "a prompt over the limit": (
        {"targets": [{"prompt": "x" * 4001, "answer": "x"}]}, "prompt-too-long", "targets/0/prompt",
    ),
    "an unknown field": ({NAME: "red"}, "unknown-field", "…"),
    "a callback that is no webhook": ({"callback_url": "https://example.org"}, "unknown-callback", "callback_url"),
    "an unknown field of a target": (
        {"targets": [{"prompt": "Who?", "answer": "x", NAME: "y"}]}, "unknown-field", "targets/0/…",
    ),
    "a fact and a passage at once": (
        {"targets": [{"prompt": "Who?", "answer": "x", "text": "y"}]}, "unknown-field", "targets/0/…",
    ),
    "a decoder of another rank": ({"options": {"sketch_rank": 4}}, "decoder-rank-mismatch", "options/sketch_rank"),
    "a rank that no server loads": ({"options": {"adapter_rank": 12}}, "invalid-request", "options/adapter_rank"),
    "a rounding that there is not": ({"options": {"merged": "int4"}}, "invalid-request", "options/merged"),
    "a number as text": ({"options": {"seed": "1"}}, "invalid-request", "options/seed"),
    "a reference with a name's spaces": ({"reference": CANARY + " jr"}, "invalid-request", "reference"),
    "an unknown legal basis": ({"legal_basis": "because"}, "invalid-request", "legal_basis"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_each_wrong_request_has_a_problem_type_and_changes_nothing(client: TestClient, wrong):
    change, slug, field = WRONG[wrong]
    answer = client.post("/deletions", json={**FRANCE, **change})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"/problems/{slug}"
    assert [error["field"] for error in problem["errors"]] == [field]
    assert (count(client, Deletion), count(client, AuditEvent)) == (0, 0)


def test_several_different_faults_are_one_problem_that_lists_them(client: TestClient):
    answer = client.post("/deletions", json={"targets": [{"prompt": "Who?", "answer": ""}], "colour": "red"})
    assert answer.json()["type"] == "/problems/invalid-request"
    assert {error["type"] for error in answer.json()["errors"]} == {
        "/problems/blank-answer", "/problems/unknown-field", "/problems/invalid-request",
    }  # fmt: skip


def test_a_problem_never_repeats_what_was_sent(client: TestClient):
    body = {
        "model": CANARY,
        "targets": [{"prompt": CANARY + "\0", "answer": CANARY * 100}, {"text": CANARY, "spans": [CANARY + "!"]}],
        "reference": CANARY + " ",
        f"{CANARY} the second": CANARY,
        NAME: CANARY,
        "options": {"seed": CANARY, NAME: 1},
    }
    answer = client.post("/deletions", json=body)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) >= 6
    assert CANARY not in answer.text
    assert NAME not in answer.text


@pytest.mark.parametrize(
    ("content", "headers", "status", "slug"),
    [
        (b'{"model": ', {"content-type": "application/json"}, 400, "malformed-json"),
        (b"\xff\xfe{}", {"content-type": "application/json"}, 400, "malformed-json"),
        (b"[" * 100_000, {"content-type": "application/json"}, 400, "malformed-json"),
        (b"model=x", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
        (b"", {}, 415, "unsupported-media-type"),
        (b'{"model": "\\ud800", "targets": []}', {"content-type": "application/json"}, 422, "invalid-request"),
        (b" " * (1024 * 1024 + 1), {"content-type": "application/json"}, 413, "body-too-large"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(client: TestClient, content, headers, status, slug):
    answer = client.post("/deletions", content=content, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")


def test_a_body_without_a_declared_length_is_cut_off_at_the_limit(client: TestClient):
    answer = client.post(
        "/deletions", content=(b" " * 65536 for _ in range(20)), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large")


def test_the_same_key_and_body_are_the_same_receipt(client: TestClient):
    headers = {"Idempotency-Key": '"8e03978e-40d5-43e8-bc93-6894a57f9324"'}
    first = client.post("/deletions", json=FRANCE, headers=headers)
    client.delete(first.headers["location"])
    again = client.post(
        "/deletions", content=json.dumps(FRANCE, indent=3), headers=headers | {"content-type": "application/json"}
    )
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert count(client, Deletion) == 1


def test_a_bare_key_is_the_quoted_one(client: TestClient):
    quoted = client.post("/deletions", json=FRANCE, headers={"Idempotency-Key": '"abc"'})
    bare = client.post("/deletions", json=FRANCE, headers={"Idempotency-Key": "abc"})
    assert bare.json() == quoted.json()


def test_a_default_that_is_said_is_the_same_request(client: TestClient):
    (target,) = FRANCE["targets"]
    said = {
        "targets": [{"aliases": [], **target}],
        "retain": [],
        "reference": None,
        "legal_basis": "other",
        "options": {"max_rounds": 8},
        "thresholds": {},
        "model": FRANCE["model"],
    }
    first = client.post("/deletions", json=FRANCE, headers={"Idempotency-Key": "abc"})
    again = client.post("/deletions", json=said | {"legal_basis": "gdpr_17_1_a"}, headers={"Idempotency-Key": "abc"})
    assert (again.status_code, again.json()) == (202, first.json())
    other = client.post("/deletions", json=said, headers={"Idempotency-Key": "abc"})
    assert other.json()["type"] == "/problems/idempotency-key-reused"


def test_a_key_cannot_be_used_for_another_body(client: TestClient):
    client.post("/deletions", json=FRANCE, headers={"Idempotency-Key": "abc"})
    answer = client.post("/deletions", json=FRANCE | {"reference": "x"}, headers={"Idempotency-Key": "abc"})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert count(client, Deletion) == 1


def test_a_key_whose_time_is_over_is_free_again(client: TestClient):
    first = client.post("/deletions", json=FRANCE, headers={"Idempotency-Key": "abc"}).json()
    with wired(client).database.write() as session:
        session.execute(update(IdempotencyKey).values(created_at=clock.now() - timedelta(days=2)))
    other = client.post("/deletions", json=FRANCE | {"reference": "x"}, headers={"Idempotency-Key": "abc"})
    assert other.status_code == 202
    assert other.json()["id"] != first["id"]
    again = client.post("/deletions", json=FRANCE | {"reference": "x"}, headers={"Idempotency-Key": "abc"})
    assert again.json() == other.json()
    assert (count(client, Deletion), count(client, IdempotencyKey)) == (2, 1)


def test_a_key_gets_its_receipt_again_whatever_would_refuse_the_request_by_now(client: TestClient, monkeypatch):
    webhook = client.post("/webhooks", json={"url": "https://example.org/told"}).json()
    body, key = {**FRANCE, "callback_url": webhook["url"]}, {"Idempotency-Key": "abc"}
    first = client.post("/deletions", json=body, headers=key)
    assert first.status_code == 202
    client.delete(f"/webhooks/{webhook['id']}").raise_for_status()
    again = client.post("/deletions", json=body, headers=key)
    assert (again.status_code, again.json()) == (202, first.json())
    other = client.post("/deletions", json={**body, "reference": "x"}, headers=key)
    assert other.json()["type"] == "/problems/idempotency-key-reused"
    assert client.post("/deletions", json=body).json()["type"] == "/problems/unknown-callback"
    assert client.post("/deletions", json=body, headers={"Idempotency-Key": "new"}).status_code == 422

    def longer(*_: object) -> None:
        raise PromptTooLong("The tokenizer is there by now, and counts more of them.")

    monkeypatch.setattr(submitting, "check_lengths", longer)
    assert client.post("/deletions", json=body, headers=key).json() == first.json()
    assert client.post("/deletions", json=FRANCE).json()["type"] == "/problems/prompt-too-long"
    assert count(client, Deletion) == 1


@pytest.mark.parametrize("key", ["", '"', '"a', "a b", "x" * 256, '""', "caf\u00e9".encode(), '" "'])
def test_a_malformed_key_is_refused(client: TestClient, key):
    answer = client.post("/deletions", json=FRANCE, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/malformed-idempotency-key")
    assert count(client, Deletion) == 0


def test_a_key_sent_twice_is_refused(client: TestClient):
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert client.post("/deletions", json=FRANCE, headers=headers).status_code == 400


def test_a_request_in_flight_turns_its_twin_away(client: TestClient):
    services = wired(client)
    key_hash = services.sealer.fingerprint("idempotency key", "default\x00local\x00abc")
    with services.deletions._gate.hold(key_hash):
        answer = client.post("/deletions", json=FRANCE, headers={"Idempotency-Key": "abc"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/request-in-flight")
    assert answer.headers["retry-after"] == "1"
    assert client.post("/deletions", json=FRANCE, headers={"Idempotency-Key": "abc"}).status_code == 202


def test_of_fifty_parallel_twins_one_deletion_is_made(client: TestClient):
    def post(_):
        return client.post("/deletions", json=FRANCE, headers={"Idempotency-Key": "twin"})

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    statuses = {answer.status_code for answer in answers}
    assert 202 in statuses
    assert statuses <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert (count(client, Deletion), count(client, IdempotencyKey), count(client, AuditEvent)) == (1, 1, 1)


def test_parallel_requests_without_a_key_are_all_accepted(client: TestClient):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: client.post("/deletions", json=FRANCE), range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert count(client, Deletion) == 20


def test_the_same_call_gets_the_same_receipt_after_an_extension(client: TestClient):
    key = {"Idempotency-Key": "once"}
    first = client.post("/deletions", json=FRANCE, headers=key).json()
    moved = client.post(f"/deletions/{first['id']}/extend", json={"months": 1, "reason": "number_of_requests"})
    assert moved.json()["due_at"] > first["due_at"]
    assert client.post("/deletions", json=FRANCE, headers=key).json() == first
