"""What the OpenAPI page says beyond types: documented problems, examples that can be sent, links."""

from collections.abc import Mapping
from http import HTTPStatus
from itertools import groupby
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.errors import (
    BodyTooLarge,
    CrossSite,
    DatabaseUnavailable,
    InternalError,
    InvalidRequest,
    KeyMissing,
    KeyNotAtHand,
    KeyRefused,
    MalformedJson,
    NotMigrated,
    Problem,
    ScopeMissing,
    SessionRefused,
    TooManyRequests,
    UnknownParameter,
    UnsupportedMediaType,
)
from app.openapi_examples import EXAMPLES as ANSWERS
from app.openapi_examples import TEXTS
from app.openapi_requests import REQUESTS
from app.problem_views import ProblemView
from app.problems import MEDIA_TYPE
from app.transitions import TRANSITIONS, Event

Responses = dict[int | str, dict[str, Any]]

TAGS = [
    {"name": "deletions", "description": "Ask a model to forget, and follow it."},
    {"name": "results", "description": "The report and the adapter of a deletion."},
    {"name": "session", "description": "Logging in with a browser."},
    {"name": "webhooks", "description": "Be told when a deletion has settled (Standard Webhooks)."},
    {"name": "personal data", "description": "Find, destroy and account for what requests said."},
    {"name": "models", "description": "The base models that are served."},
    {"name": "operations", "description": "Health, readiness and the kinds of problems."},
]
_HAPPENS = {
    Event.CLAIM: "a worker takes it, or takes it over from one that went silent",
    Event.YIELD: "its run ended early, and it waits for the next one",
    Event.COMPLETE: "forgotten, or not known",
    Event.REVIEW: "the adapter missed a threshold, or too little could be asked",
    Event.FAIL: "no further run can mend it",
    Event.CANCEL: "on request",
    Event.RETRY: "an operator gives it a fresh budget of runs",
    Event.APPROVE: "an operator publishes the adapter",
    Event.REJECT: "an operator refuses the adapter",
}
_DESCRIPTION = """\
Post what a language model must forget; a worker computes a small LoRA adapter that makes it forget, evaluates it, and
the report says with figures what was forgotten and what was kept. The model's own weights are never changed.

### The life of a deletion

{life}
`POST /deletions` answers 202 once the request is on disk; nothing that was accepted is lost. A running deletion that is
canceled stays `running` with `cancel_requested` until its worker takes notice. `needs_review` waits for an operator.

Calls need an API key with the right scope, sent as `Authorization: Bearer r2f_…`, and see the records of its tenant
only. Make one with `r2f keys create`, and enter it under *Authorize*.

Every error is `application/problem+json` (RFC 9457) with a stable `type`; `GET /problems` lists them all.
"""


def description() -> str:
    """What the page begins with; the life of a deletion is told from the table that the service itself follows."""
    rows = "\n".join(
        f"| `{status}` | {event}: {_HAPPENS[event]} | `{following}` |"
        for (status, event), following in TRANSITIONS.items()
    )
    return _DESCRIPTION.replace("{life}", f"| status | what happens | then |\n|---|---|---|\n{rows}\n")


_LINKS = {
    name: {
        "operationId": operation,
        "parameters": {"deletion_id": "$response.body#/id"},
        "description": description,
    }
    for name, operation, description in (
        ("status", "get_deletion", "Follow the deletion."),
        ("events", "follow_deletion", "Follow it live."),
        ("cancel", "cancel_deletion", "Cancel it."),
        ("report", "get_report", "Its report, once there is one."),
        ("adapter", "get_adapter", "Its adapter, once it is published."),
    )
}


def header(description: str, kind: str = "string", *, required: bool = True) -> dict[str, Any]:
    """A documented header of an answer."""
    return {"description": description, "required": required, "schema": {"type": kind}}


PAGED: Responses = {200: {"headers": {"Link": header("The next page, where there is one.", required=False)}}}
FOLLOWED: Responses = {202: {"links": _LINKS}}
DECIDED: Responses = {200: {"links": _LINKS}}
REGISTERED: Responses = {
    201: {
        "headers": {"Location": header("Where to look at it.")},
        "links": {
            "model": {
                "operationId": "get_model",
                "parameters": {"model_id": "$response.body#/id"},
                "description": "Look at it, and at the workers that serve it.",
            }
        },
    }
}
_WEBHOOK_LINKS = {
    name: {"operationId": operation, "parameters": {"webhook_id": "$response.body#/id"}, "description": description}
    for name, operation, description in (
        ("deliveries", "list_deliveries", "What it was told."),
        ("rotate", "rotate_webhook", "Give it a new secret."),
        ("disable", "disable_webhook", "Tell it nothing more."),
    )
}
SUBSCRIBED: Responses = {201: {"headers": {"Location": header("Its deliveries.")}, "links": _WEBHOOK_LINKS}}
RECEIPT: Responses = {
    202: {
        "links": _LINKS,
        "headers": {
            "Location": header("Where to follow it."),
            "Retry-After": header("Seconds to wait before asking.", "integer"),
        },
    }
}
_FIELD = {"field": "options/seed", "type": InvalidRequest.uri(), "detail": "Input should be a valid integer"}
ANYWHERE: tuple[type[Problem], ...] = (InternalError, DatabaseUnavailable, NotMigrated, KeyNotAtHand, UnknownParameter)
WITH_KEY: tuple[type[Problem], ...] = (KeyMissing, KeyRefused, SessionRefused, ScopeMissing, CrossSite, TooManyRequests)
WITH_BODY: tuple[type[Problem], ...] = (MalformedJson, BodyTooLarge, UnsupportedMediaType)


def problems(*kinds: type[Problem]) -> Responses:
    """The documented error responses of an endpoint, each kind with an example."""
    ordered = sorted({*kinds, *ANYWHERE}, key=lambda kind: (kind.status, kind.slug()))
    responses: Responses = {}
    for status, group in groupby(ordered, key=lambda kind: kind.status):
        same = list(group)
        responses[status] = {
            "description": HTTPStatus(status).phrase + ": " + ", ".join(kind.slug() for kind in same),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/ProblemView"},
                    "examples": {kind.slug(): {"summary": kind.title(), "value": _example(kind)} for kind in same},
                }
            },
        }
    return responses


def install(app: FastAPI) -> None:
    """Serve the schema with the problem's own in it and the framework's validation errors out of it."""

    def schema() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS
            )
            schemas = made["components"]["schemas"]
            for item in made["paths"].values():
                for method, operation in item.items():
                    _add_requests(operation.get("requestBody", {}).get("content", {}))
                    _drop_framework_errors(operation["responses"])
                    if operation.get("security"):
                        _add_problems(operation["responses"], WITH_KEY)
                    if method == "post":  # whatever is sent to it is read, wanted or not
                        _add_problems(operation["responses"], (BodyTooLarge,))
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            inner = ProblemView.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= inner.pop("$defs", {}) | {"ProblemView": inner}
            for name, example in ANSWERS.items():
                schemas[name]["examples"] = [example]
            for (path, kind), text in TEXTS.items():
                made["paths"][path]["get"]["responses"]["200"]["content"][kind]["example"] = text
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = schema  # type: ignore[method-assign]  # how FastAPI documents to extend it


def _add_requests(content: dict[str, Any]) -> None:
    """Give a body the examples of its schema."""
    for body in content.values():
        body["examples"] = REQUESTS[body["schema"]["$ref"].rpartition("/")[2]]


def _drop_framework_errors(responses: dict[str, Any]) -> None:
    """Take out the framework's own 422, which this service never sends."""
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]


def _add_problems(responses: dict[str, Any], kinds: tuple[type[Problem], ...]) -> None:
    """Document what many calls may answer."""
    for status, response in problems(*kinds).items():
        known = responses.setdefault(str(status), response)
        examples = known["content"][MEDIA_TYPE]["examples"] | response["content"][MEDIA_TYPE]["examples"]
        known["content"][MEDIA_TYPE]["examples"] = dict(sorted(examples.items()))
        known["description"] = f"{HTTPStatus(int(status)).phrase}: {', '.join(sorted(examples))}"


def _example(kind: type[Problem]) -> Mapping[str, Any]:
    said = {"type": kind.uri(), "title": kind.title(), "status": kind.status}
    return said | {"errors": [_FIELD]} if kind is InvalidRequest else said
