"""The OpenAPI page: every call described, every answer and error with an example, and examples that can be sent."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import audit_views, certificate, errors, openapi_examples, problem_views, report, views
from app.certificate import check_signature
from app.webhooks import views as webhook_views
from tests.conftest import FRANCE

ANSWERS = (views, problem_views, audit_views, webhook_views, report, certificate)
UNKNOWN = {"deletion_id", "webhook_id", "file", "plot"}  # what only a service with that record in it answers


@pytest.fixture
def schema(client: TestClient) -> dict[str, Any]:
    """The page's source."""
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each call."""
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def at(path: str, operation: dict[str, Any]) -> str:
    """The path with the example of each of its parameters."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            shown = parameter["schema"].get("examples") or parameter["schema"].get("enum")
            assert shown, f"{path}: {parameter['name']} has no example"
            path = path.replace(f"{{{parameter['name']}}}", shown[0])
    return path


def test_every_body_has_examples_and_each_is_accepted_as_it_is(client: TestClient, schema):
    deletion = client.post("/deletions", json=FRANCE).json()["id"]
    sent = set()
    for method, path, operation in operations(schema):
        if "requestBody" not in operation:
            continue
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            answer = client.request(method, path.replace("{deletion_id}", deletion), json=example["value"])
            sent.add(path)
            if path == "/session":
                assert answer.json()["type"] == "/problems/key-refused", "no key of an example may open anything"
                continue
            assert answer.is_success, (path, example["summary"], answer.text)
    posts = {path for method, path, operation in operations(schema) if "requestBody" in operation}
    assert sent == posts >= {"/deletions", "/deletions/search", "/deletions/{deletion_id}/extend", "/webhooks"}


def test_every_path_can_be_called_as_its_examples_say(client: TestClient, schema):
    called = 0
    for method, path, operation in operations(schema):
        where = at(path, operation)
        if method != "get" or path.endswith("/events"):
            continue
        status = client.get(where).status_code
        expected = {404} if UNKNOWN & set(re.findall(r"{(\w+)}", path)) else {200}
        assert status in expected, (where, status)
        called += 1
    assert called >= 15


def test_every_error_has_an_example_that_fits_its_status(schema):
    promised = {problem.uri(): problem.status for problem in errors.problem_types()}
    shown = set()
    for _method, path, operation in operations(schema):
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            examples = response["content"]["application/problem+json"]["examples"]
            assert examples, (path, status)
            for name, example in examples.items():
                problem = problem_views.ProblemView.model_validate(example["value"])
                assert (problem.type, problem.status) == (f"/problems/{name}", int(status))
                assert promised[problem.type] == problem.status
                assert name in response["description"]
                shown.add(problem.type)
    # what is answered where no call of this page was made, and so stands in none of its answers
    assert set(promised) - shown == {"/problems/path-not-found", "/problems/method-not-allowed"}


def test_a_call_that_needs_a_key_documents_every_refusal(schema):
    for _method, path, operation in operations(schema):
        if operation.get("security"):
            for status, name in (("401", "key-missing"), ("403", "scope-missing"), ("429", "too-many-requests")):
                assert name in operation["responses"][status]["content"]["application/problem+json"]["examples"], path


def test_a_body_that_is_too_large_is_documented_wherever_something_is_posted(client: TestClient, schema):
    large = "x" * 5_000_000
    for path, item in schema["paths"].items():
        if "post" in item:
            answer = client.post(path, content=large)
            assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large"), path
            assert (
                "body-too-large" in item["post"]["responses"]["413"]["content"]["application/problem+json"]["examples"]
            )


def test_where_a_new_webhook_can_be_looked_at(client: TestClient, schema):
    made = client.post("/webhooks", json={"url": "https://hooks.example.org/r2f"})
    assert made.status_code == 201, made.text
    assert client.get(made.headers["Location"]).json()["items"] == []
    assert "Location" in schema["paths"]["/webhooks"]["post"]["responses"]["201"]["headers"]


def test_every_operation_is_described_and_documents_its_problems(client: TestClient, schema):
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


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/deletions", "202"),
        ("/deletions/{deletion_id}/retry", "202"),
        ("/deletions/{deletion_id}/approve", "200"),
        ("/deletions/{deletion_id}/reject", "200"),
        ("/models", "201"),
        ("/webhooks", "201"),
    ],
)
def test_what_is_posted_links_to_what_follows(schema, path, status):
    by_id = {operation["operationId"]: operation for _method, _path, operation in operations(schema)}
    links = schema["paths"][path]["post"]["responses"][status]["links"]
    for link in links.values():
        parameters = {parameter["name"] for parameter in by_id[link["operationId"]]["parameters"]}
        assert set(link["parameters"]) <= parameters


def test_every_answer_has_an_example_that_fits(schema):
    answers = set()
    for _method, _path, operation in operations(schema):
        for status, response in operation["responses"].items():
            found = response.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref")
            if int(status) < 300 and found:
                answers.add(found.rpartition("/")[2])
    assert answers <= set(openapi_examples.EXAMPLES)
    for name, example in openapi_examples.EXAMPLES.items():
        (model,) = {getattr(place, name) for place in ANSWERS if hasattr(place, name)}
        assert set(example) == set(model.model_fields), name
        model.model_validate_json(json.dumps(example))
        assert schema["components"]["schemas"][name]["examples"] == [example]


def test_the_certificate_that_is_shown_was_signed_with_the_key_that_is_shown():
    shown = openapi_examples.EXAMPLES
    check_signature(shown["SignedCertificate"], shown["KeySet"])


def test_the_life_of_a_deletion_is_told(schema):
    assert (
        "| `needs_review` | approve: an operator publishes the adapter | `completed` |" in schema["info"]["description"]
    )


def test_what_is_answered_as_text_has_an_example_as_it_is_sent(client: TestClient, schema):
    def shown(path: str, kind: str) -> str:
        example = schema["paths"][path]["get"]["responses"]["200"]["content"][kind]["example"]
        return str(example)

    sent = client.get("/metrics").text
    for line in shown("/metrics", "text/plain").splitlines():
        assert line.rpartition(" ")[0] in sent
    stream = shown("/deletions/{deletion_id}/events", "text/event-stream")
    event = dict(line.split(": ", 1) for line in stream.strip().splitlines())
    assert list(event) == ["event", "data", "id", "retry"]
    assert views.DeletionView.model_validate_json(event["data"]).updated_at.isoformat()[:19] == event["id"][:19]
