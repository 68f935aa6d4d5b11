"""Health, readiness, the kinds of problems, and an OpenAPI page whose examples can be sent."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app import errors
from app.main import create_app
from app.settings import Settings
from tests.conftest import FRANCE, FakePipeline, wired, worker_on

PROMISED = [
    "malformed-json",
    "400",
    "malformed-id",
    "400",
    "malformed-cursor",
    "400",
    "malformed-idempotency-key",
    "400",
    "path-not-found",
    "404",
    "deletion-not-found",
    "404",
    "model-not-found",
    "404",
    "adapter-file-not-found",
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
    "idempotency-key-reused",
    "422",
    "internal-error",
    "500",
    "artefact-missing",
    "500",
    "database-unavailable",
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


def test_the_process_is_alive_and_ready(client: TestClient):
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz").json()
    assert ready == {"status": "ready", "checks": {"database": "ok", "broker": "ok"}, "workers": []}


def test_readiness_shows_what_each_worker_has_loaded(client: TestClient):
    missing = client.get("/readyz", params={"require_worker": True})
    assert (missing.status_code, missing.json()["type"]) == (503, "/problems/not-ready")
    worker_on(wired(client), FakePipeline())
    ready = client.get("/readyz", params={"require_worker": True})
    assert ready.status_code == 200
    (worker,) = ready.json()["workers"]
    assert (worker["state"], worker["loaded"]) == ("ready", {"model": True, "decoder": True, "curvature": True})


def test_without_its_tables_the_service_is_not_ready(tmp_path):
    with TestClient(create_app(Settings(data_dir=tmp_path))) as bare:
        answer = bare.get("/readyz")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not-ready")
        assert [error["field"] for error in answer.json()["errors"]] == ["database"]
        assert bare.get("/healthz").status_code == 200
        failed = bare.post("/deletions", json=FRANCE)
        assert (failed.status_code, failed.json()["type"]) == (503, "/problems/database-unavailable")


def test_without_its_broker_the_service_accepts_and_is_not_ready(sqlite_template: Path, tmp_path):
    (tmp_path / "r2f.db").write_bytes(sqlite_template.read_bytes())
    with TestClient(create_app(Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:1/0"))) as deaf:
        assert deaf.post("/deletions", json=FRANCE).status_code == 202
        assert [error["field"] for error in deaf.get("/readyz").json()["errors"]] == ["broker"]


def test_every_example_of_the_openapi_page_is_accepted_as_it_is(client: TestClient):
    sent = 0
    for path, item in client.get("/openapi.json").json()["paths"].items():
        content = item.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in content.get("examples", {}).values():
            body = example["value"]
            if path == "/models" and not (Path("worker/r2f/decoders/spectral-r8") / "card.json").exists():
                continue
            assert client.post(path, json=body).is_success, (path, example["summary"])
            sent += 1
    assert sent >= 2


def test_every_operation_is_described_and_documents_its_problems(client: TestClient):
    schema = client.get("/openapi.json").json()
    types = {problem.uri() for problem in errors.problem_types()}
    for path, item in schema["paths"].items():
        for operation in item.values():
            assert operation["summary"], path
            assert operation["description"], path
            assert operation["tags"][0] in {tag["name"] for tag in schema["tags"]}
            for status, response in operation["responses"].items():
                if int(status) < 400:
                    continue
                (media_type,) = response["content"]
                assert media_type == "application/problem+json", (path, status)
                for example in response["content"][media_type]["examples"].values():
                    assert example["value"]["type"] in types
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    references = set(re.findall(r"#/components/schemas/(\w+)", client.get("/openapi.json").text))
    assert references <= set(schema["components"]["schemas"])


def test_the_receipt_links_to_what_follows(client: TestClient):
    schema = client.get("/openapi.json").json()
    operations = {operation["operationId"] for item in schema["paths"].values() for operation in item.values()}
    links = schema["paths"]["/deletions"]["post"]["responses"]["202"]["links"]
    assert {link["operationId"] for link in links.values()} <= operations
