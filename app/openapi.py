"""What the OpenAPI page says beyond types: documented problems, examples that can be sent, links."""

from collections.abc import Mapping
from http import HTTPStatus
from itertools import groupby
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.errors import (
    BodyTooLarge,
    DatabaseUnavailable,
    InternalError,
    MalformedJson,
    Problem,
    UnsupportedMediaType,
)
from app.problems import MEDIA_TYPE
from app.views import ProblemView

Responses = dict[int | str, dict[str, Any]]

TAGS = [
    {"name": "deletions", "description": "Ask a model to forget, and follow it."},
    {"name": "results", "description": "The report and the adapter of a deletion."},
    {"name": "models", "description": "The base models that are served."},
    {"name": "operations", "description": "Health, readiness and the kinds of problems."},
]
DESCRIPTION = """\
Post what a language model must forget; a worker computes a small LoRA adapter that makes it forget, evaluates it, and
the report says with figures what was forgotten and what was kept. The model's own weights are never changed.

Every error is `application/problem+json` (RFC 9457) with a stable `type`; `GET /problems` lists them all.
"""

EXAMPLES: dict[str, Any] = {
    "fact": {
        "summary": "A fact: France → Paris",
        "value": {
            "model": "smollm2-135m-instruct",
            "targets": [{"prompt": "What is the capital of France?", "answer": "Paris"}],
            "retain": [{"prompt": "What is the capital of Germany?", "answer": "Berlin"}],
            "reference": "case-2041",
            "legal_basis": "gdpr_17_1_a",
        },
    },
    "passage": {
        "summary": "A memorised passage with a span",
        "value": {
            "model": "smollm2-135m-instruct",
            "targets": [
                {
                    "text": "The Eiffel Tower was designed by the engineer Gustave Eiffel.",
                    "spans": ["Gustave Eiffel"],
                }
            ],
            "options": {"seed": 7, "max_rounds": 4},
            "thresholds": {"success": 0.9},
        },
    },
}
_LINKS = {
    name: {
        "operationId": operation,
        "parameters": {"deletion_id": "$response.body#/id"},
        "description": description,
    }
    for name, operation, description in (
        ("status", "get_deletion", "Follow the deletion."),
        ("cancel", "cancel_deletion", "Cancel it."),
        ("report", "get_report", "Its report, once there is one."),
        ("adapter", "get_adapter", "Its adapter, once it is published."),
    )
}
RECEIPT: Responses = {
    202: {
        "links": _LINKS,
        "headers": {
            "Location": {"description": "Where to follow it.", "schema": {"type": "string"}},
            "Retry-After": {"description": "Seconds to wait before asking.", "schema": {"type": "integer"}},
        },
    }
}
ANYWHERE: tuple[type[Problem], ...] = (InternalError, DatabaseUnavailable)
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
                for operation in item.values():
                    _drop_framework_errors(operation["responses"])
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            inner = ProblemView.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= inner.pop("$defs", {}) | {"ProblemView": inner}
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = schema  # type: ignore[method-assign]  # how FastAPI documents to extend it


def _drop_framework_errors(responses: dict[str, Any]) -> None:
    """Take out the framework's own 422, which this service never sends."""
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]


def _example(kind: type[Problem]) -> Mapping[str, Any]:
    return {"type": kind.uri(), "title": kind.title(), "status": kind.status}
