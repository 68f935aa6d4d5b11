"""Paths, queries and methods: what no call knows is refused, and never ignored."""

import pytest
from fastapi.testclient import TestClient

from tests.conftest import FRANCE


@pytest.mark.parametrize(
    "path", ["/deletions?statsu=failed", "/models?statsu=x", "/healthz?statsu=", "/deletions/{one}?statsu=x&statsu=y"]
)
def test_a_parameter_that_the_call_does_not_know_is_refused_and_those_it_knows_are_named(client: TestClient, path: str):
    one = client.post("/deletions", json=FRANCE).json()["id"]
    answer = client.get(path.format(one=one))
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/unknown-parameter")
    assert {error["field"] for error in answer.json()["errors"]} == {"query/…"}
    assert "statsu" not in answer.text
    known = "cursor, limit, model, overdue, reference, status" if path.startswith("/deletions?") else "none"
    assert answer.json()["errors"][0]["detail"] == f"is not a parameter of this call, which has {known}"
    assert client.get(path.format(one=one).partition("?")[0]).status_code == 200


def test_head_knows_what_get_knows(client: TestClient):
    path = client.post("/deletions", json=FRANCE).headers["location"] + "/adapter"
    assert [client.head(path, params=query).status_code for query in ({}, {"statsu": "x"})] == [409, 422]


def test_a_call_that_changes_something_does_not_when_its_query_is_refused(client: TestClient):
    path = client.post("/deletions", json=FRANCE).headers["location"]
    assert client.delete(path, params={"dry_run": "true"}).status_code == 422
    assert client.get(path).json()["status"] == "queued"


def test_every_parameter_that_is_known_is_taken(client: TestClient):
    client.post("/deletions", json=FRANCE | {"reference": "case/7#a"})
    query = {"status": "queued", "model": FRANCE["model"], "reference": "case/7#a", "overdue": "false", "limit": 1}
    assert len(client.get("/deletions", params=query).json()["items"]) == 1


@pytest.mark.parametrize("path", ["/deletions", "/audit", "/webhooks/whk_" + "0" * 32 + "/deliveries"])
@pytest.mark.parametrize("cursor", ["x", "a" * 5000, "%00", "%F0%9F%92%A9"])
def test_a_cursor_of_any_wrong_form_is_a_malformed_cursor(client: TestClient, path: str, cursor: str):
    answer = client.get(f"{path}?cursor={cursor}")
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/malformed-cursor")


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("/deletions?model=%00", 422, "invalid-request"),
        ("/deletions?model=smollm2%00", 422, "invalid-request"),
        ("/deletions?reference=%00", 422, "invalid-request"),
        ("/models/%00", 400, "malformed-id"),
        ("/models/smollm2%00-135m", 400, "malformed-id"),
        ("/deletions/del_%00", 400, "malformed-id"),
        ("/webhooks/%00/deliveries", 404, "webhook-not-found"),
        ("/problems/%00", 404, "problem-not-found"),
        ("/audit?deletion=%00", 422, "invalid-request"),
    ],
)
def test_a_nul_is_refused_before_it_reaches_a_database(client: TestClient, path: str, status: int, slug: str):
    answer = client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")


@pytest.mark.parametrize(("path", "status"), [("/?model=%00", 422), ("/?reference=%00", 200)])
def test_nor_does_one_through_a_page(client: TestClient, path: str, status: int):
    assert client.get(path).status_code == status  # references are looked up by their hash


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/deletions", "GET, POST"),
        ("POST", "/deletions/del_" + "0" * 32, "GET, DELETE"),
        ("PATCH", "/session", "GET, POST, DELETE"),
        ("POST", "/healthz", "GET"),
        ("DELETE", "/webhooks", "GET, POST"),
        ("POST", "/static/r2f.css", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_every_right_one(client: TestClient, method: str, path: str, allowed: str):
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["type"]) == (405, "/problems/method-not-allowed")
    assert answer.headers["allow"] == allowed
