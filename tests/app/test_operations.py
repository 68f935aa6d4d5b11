"""Health, readiness and the kinds of problems."""

from base64 import b64encode
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from app.access import Scope
from app.dashboard import refusals
from app.settings import Settings
from tests.app.test_dashboard import Elements
from tests.conftest import FRANCE, FakePipeline, caller, wired, worker_on

PROMISED = [
    "malformed-json",
    "400",
    "malformed-id",
    "400",
    "malformed-cursor",
    "400",
    "malformed-idempotency-key",
    "400",
    "key-missing",
    "401",
    "key-refused",
    "401",
    "session-refused",
    "401",
    "scope-missing",
    "403",
    "cross-site",
    "403",
    "path-not-found",
    "404",
    "deletion-not-found",
    "404",
    "model-not-found",
    "404",
    "adapter-file-not-found",
    "404",
    "plot-not-found",
    "404",
    "webhook-not-found",
    "404",
    "problem-not-found",
    "404",
    "method-not-allowed",
    "405",
    "request-in-flight",
    "409",
    "already-finished",
    "409",
    "not-retryable",
    "409",
    "not-in-review",
    "409",
    "report-not-ready",
    "409",
    "adapter-not-ready",
    "409",
    "adapter-in-review",
    "409",
    "no-adapter",
    "409",
    "model-exists",
    "409",
    "body-too-large",
    "413",
    "unsupported-media-type",
    "415",
    "range-not-satisfiable",
    "416",
    "invalid-request",
    "422",
    "unknown-field",
    "422",
    "unknown-parameter",
    "422",
    "unknown-model",
    "422",
    "no-targets",
    "422",
    "too-many-targets",
    "422",
    "blank-answer",
    "422",
    "span-not-in-text",
    "422",
    "span-starts-text",
    "422",
    "retained-target",
    "422",
    "prompt-too-long",
    "422",
    "decoder-rank-mismatch",
    "422",
    "unknown-decoder",
    "422",
    "not-a-model",
    "422",
    "unsupported-model",
    "422",
    "hub-not-allowed",
    "422",
    "source-not-allowed",
    "422",
    "callback-not-allowed",
    "422",
    "unknown-callback",
    "422",
    "idempotency-key-reused",
    "422",
    "too-many-requests",
    "429",
    "internal-error",
    "500",
    "artefact-missing",
    "500",
    "adapter-expired",
    "410",
    "certificate-not-ready",
    "409",
    "commitment-purged",
    "410",
    "not-purgeable",
    "409",
    "not-extendable",
    "409",
    "key-not-at-hand",
    "503",
    "database-unavailable",
    "503",
    "not-migrated",
    "503",
    "store-unavailable",
    "503",
    "key-not-at-hand",
    "503",
    "not-ready",
    "503",
    "no-disk-space",
    "507",
]


def test_the_types_of_problems_are_a_promise(client: TestClient):
    listed = client.get("/problems").json()["items"]
    promised = {f"/problems/{slug}": int(status) for slug, status in zip(PROMISED[::2], PROMISED[1::2], strict=True)}
    assert {problem["type"]: problem["status"] for problem in listed} == promised
    for problem in listed:
        assert client.get(problem["type"]).json() == problem
    assert client.get("/problems/none").json()["type"] == "/problems/problem-not-found"


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "path-not-found"),
        ("GET", "/deletions/", 404, "path-not-found"),
        ("PUT", "/deletions", 405, "method-not-allowed"),
        ("POST", "/healthz", 405, "method-not-allowed"),
    ],
)
def test_what_is_not_there_is_a_problem_too(client: TestClient, method, path, status, slug):
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
    assert answer.headers["content-type"] == "application/problem+json"
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("failure", "status", "slug"),
    [
        (None, 404, "path-not-found"),
        (OperationalError("SELECT 1", None, Exception("gone")), 503, "database-unavailable"),
        (RuntimeError("a secret"), 500, "internal-error"),
    ],
)
def test_a_browser_is_shown_a_page_of_what_went_wrong(client: TestClient, monkeypatch, failure, status, slug):
    def fail() -> None:
        raise failure

    monkeypatch.setattr(wired(client).registry, "all", fail)
    path = "/models" if failure else "/nowhere"
    assert client.get(path).json()["type"] == f"/problems/{slug}"
    answer = client.get(path, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    page = Elements(answer.text)
    assert [a["href"] for a in page.all("a") if a.get("class") == "brand"] == ["/"]
    assert "a secret" not in page.text
    if status != 404:
        assert "/ui/workers" in [a["href"] for a in page.all("a")], "who asks is known by then"


def test_where_even_the_page_of_a_failure_fails_the_bare_problem_is_answered(client: TestClient, monkeypatch):
    def fail(*_anything: object, **_more: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(refusals, "page", fail)
    answer = client.get("/nowhere", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal-error")


def test_the_process_is_alive_and_ready(client: TestClient):
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz").json()
    assert ready == {
        "status": "ready",
        "checks": {"database": "ok", "key": "ok", "broker": "ok", "store": "ok"},
        "workers": [],
    }


def test_a_store_that_cannot_be_written_is_not_ready(client: TestClient, settings: Settings):
    settings.artefacts.parent.mkdir(parents=True, exist_ok=True)
    settings.artefacts.touch()  # a file where the folder should be: permissions do not hold root back
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not-ready")
    assert [(field["field"], field["detail"]) for field in answer.json()["errors"]] == [
        ("store", "The folder of the artefacts cannot be written.")
    ]


def test_readiness_shows_what_each_worker_has_loaded(client: TestClient):
    missing = client.get("/readyz", params={"require_worker": True})
    assert (missing.status_code, missing.json()["type"]) == (503, "/problems/not-ready")
    worker_on(wired(client), FakePipeline())
    ready = client.get("/readyz", params={"require_worker": True})
    assert ready.status_code == 200
    (worker,) = ready.json()["workers"]
    assert (worker["state"], worker["loaded"]) == ("ready", {"model": True, "decoder": True, "curvature": True})


def test_a_stranger_learns_whether_it_is_ready_and_nothing_of_its_machines(settings: Settings):
    with caller(settings.model_copy(update={"authentication": "required"})) as stranger:
        worker_on(wired(stranger), FakePipeline())
        made = wired(stranger).keys.create("acme", "x", frozenset({Scope.DELETIONS_READ}))
        for headers in ({}, {"Authorization": "Bearer r2f_x"}, {"Cookie": "r2f_session=x"}):
            answer = stranger.get("/readyz", headers=headers).json()
            assert answer == {
                "status": "ready",
                "checks": {"database": "ok", "key": "ok", "broker": "ok", "store": "ok"},
                "workers": [],
            }
        known = stranger.get("/readyz", headers={"Authorization": f"Bearer {made.token}"}).json()
        assert [worker["host"] for worker in known["workers"]] == ["host"]


def test_without_its_tables_the_service_is_not_ready_and_says_how_to_make_them(empty_url: str, tmp_path: Path):
    settings = Settings(data_dir=tmp_path, database_url=empty_url, master_key=SecretStr(b64encode(bytes(32)).decode()))
    with caller(settings) as bare:
        answer = bare.get("/readyz")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not-ready")
        assert [error["field"] for error in answer.json()["errors"]] == ["database"]
        assert bare.get("/healthz").status_code == 200
        failed = bare.post("/deletions", json=FRANCE)
        assert (failed.status_code, failed.json()["type"]) == (503, "/problems/not-migrated")
        assert "r2f migrate" in failed.json()["title"]


def test_without_its_broker_the_service_accepts_and_is_not_ready(sqlite_template: Path, tmp_path):
    (tmp_path / "r2f.db").write_bytes(sqlite_template.read_bytes())
    with caller(Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:1/0")) as deaf:
        assert deaf.post("/deletions", json=FRANCE).status_code == 202
        assert [error["field"] for error in deaf.get("/readyz").json()["errors"]] == ["broker"]
