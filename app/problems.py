"""Every error becomes RFC 9457 problem+json here; no value that a caller sent is ever repeated."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from app.database import AWAY
from app.errors import (
    BlankAnswer,
    DatabaseUnavailable,
    InternalError,
    InvalidRequest,
    MalformedJson,
    MethodNotAllowed,
    NoDiskSpace,
    NoTargets,
    NotMigrated,
    PathNotFound,
    Problem,
    PromptTooLong,
    RetainedTarget,
    SpanNotInText,
    SpanStartsText,
    TooManyTargets,
    UnknownField,
    UnknownParameter,
)
from app.problem_views import FieldProblem, ProblemView
from app.schemas import ABOUT_TAG, PASSAGE_TAG, PROMPT_TAG

Answer = Callable[[Request, Problem], Response]
MEDIA_TYPE = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,31}$")
_UNKNOWN = frozenset({"extra_forbidden", "unknown_parameter"})  # whose last name the caller made up
# What SQLite and PostgreSQL say of a table or column that no migration has made yet.
_NO_TABLES = re.compile(r"no such (table|column)|(relation|column) \S+ does not exist")
# What is refused before anybody has asked who calls. A 404 of the service's own is no error of the framework's.
_UNCOUNTED = frozenset({MalformedJson.status, PathNotFound.status, MethodNotAllowed.status})
_log = structlog.get_logger(__name__)

# What is wrong, by pydantic's name for it and the last name in its place ("*": any).
_TYPES: Mapping[tuple[str, str], type[Problem]] = {
    ("extra_forbidden", "*"): UnknownField,
    ("unknown_parameter", "*"): UnknownParameter,
    ("blank", "answer"): BlankAnswer,
    ("string_too_short", "answer"): BlankAnswer,
    ("span_not_in_text", "*"): SpanNotInText,
    ("span_starts_text", "*"): SpanStartsText,
    ("retained_target", "*"): RetainedTarget,
    ("too_short", "targets"): NoTargets,
    ("too_long", "targets"): TooManyTargets,
    ("string_too_long", "prompt"): PromptTooLong,
    ("string_too_long", "paraphrases"): PromptTooLong,
    ("string_too_long", "text"): PromptTooLong,
}


def problem_response(problem: Problem) -> Response:
    """The response that a problem makes."""
    body = ProblemView(
        type=problem.uri(),
        title=problem.title(),
        status=problem.status,
        detail=problem.detail,
        errors=[FieldProblem.model_validate(field) for field in problem.fields] if problem.fields else None,
    )
    return Response(
        body.model_dump_json(exclude_none=True),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def install(app: FastAPI, answer: Answer, count: Callable[[Request], object]) -> None:
    """Answer every error of the application with a problem.

    Args:
        answer: how to tell whoever asks of what no call of the API has to do with: a wrong path, a lost database.
        count: counts a call that is refused before anybody has asked who calls: one whose body cannot be read, or
            that leads nowhere; raises TooManyRequests.
    """

    async def on_http(request: Request, error: Exception) -> Response:
        return answer(request, _from_http(request, error))

    async def on_database(request: Request, error: Exception) -> Response:
        return answer(request, _from_database(error))

    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _counting(on_http, count))
    app.add_exception_handler(RequestValidationError, _counting(_on_invalid, count))
    for lost in (*AWAY, ProgrammingError, PoolTimeout):
        app.add_exception_handler(lost, on_database)


def from_validation(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """One problem for all fields that are wrong: of their type if they share one, else InvalidRequest."""
    if any(error["type"] == "json_invalid" for error in errors):
        return MalformedJson()
    fields, kinds = [], set()
    for error in errors:
        path = [part for part in error["loc"] if part not in (PROMPT_TAG, PASSAGE_TAG, ABOUT_TAG)]
        names = [part for part in path if isinstance(part, str)]
        last = names[-1] if names else ""
        kind = _TYPES.get((error["type"], last)) or _TYPES.get((error["type"], "*")) or InvalidRequest
        kinds.add(kind)
        where = _place([*path[:-1], "…"] if error["type"] in _UNKNOWN else path)
        fields.append({"field": where, "type": kind.uri(), "detail": str(error["msg"])})
    problem = kinds.pop() if len(kinds) == 1 else InvalidRequest
    return problem(fields=fields)


def _place(path: Sequence[str | int]) -> str:
    """Where in the request, without the word `body`; a name that is none of a field's is not repeated."""
    shown = [str(part) if isinstance(part, int) or _NAME.match(part) else "…" for part in path]
    return "/".join(shown[1:] if shown[:1] == ["body"] else shown)


def _counting(
    handler: Callable[[Request, Exception], Awaitable[Response]], count: Callable[[Request], object]
) -> Callable[[Request, Exception], Awaitable[Response]]:
    """The handler, with calls counted whose body could not be read, and those to no path or with no such method."""

    async def counted(request: Request, error: Exception) -> Response:
        response = await handler(request, error)
        if response.status_code in _UNCOUNTED:
            return await counting(request, response, count)
        return response

    return counted


async def counting(request: Request, response: Response, count: Callable[[Request], object]) -> Response:
    """The response, or what counting the call raises: that its caller has called too often."""
    try:
        await run_in_threadpool(count, request)
    except Problem as refused:
        return problem_response(refused)
    return response


async def _on_problem(_request: Request, error: Exception) -> Response:
    return problem_response(error if isinstance(error, Problem) else InternalError())


def _from_http(request: Request, error: Exception) -> Problem:
    """The framework's own errors."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if status == 405:
        headers["Allow"] = ", ".join(_allowed(request))
    known: dict[int, type[Problem]] = {400: MalformedJson, 404: PathNotFound, 405: MethodNotAllowed}
    return known.get(status, InternalError)(headers=headers)


def _allowed(request: Request) -> list[str]:
    """The methods that this path answers to; the framework names those of one route only."""
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    # A copy of the scope: a match notes in it what it has found.
    asked = ({**request.scope, "method": method, "fastapi": {}} for method in METHODS)
    found = [scope["method"] for scope in asked if any(route.matches(scope)[0] is Match.FULL for route in routes)]
    return found or ["GET", "HEAD"]  # of the files in a folder


async def _on_invalid(_request: Request, error: Exception) -> Response:
    return problem_response(from_validation(error.errors() if isinstance(error, RequestValidationError) else []))


def _from_database(error: Exception) -> Problem:
    """The database is away, busy, full or without its tables; or the service asked it what it should not have."""
    _log.exception("the database failed", exc_info=error)
    said = str(error.orig) if isinstance(error, DBAPIError) else ""
    if "disk is full" in said:
        return NoDiskSpace()
    if _NO_TABLES.search(said):
        return NotMigrated()
    if isinstance(error, ProgrammingError):
        return InternalError()
    return DatabaseUnavailable(headers={"Retry-After": "2"})
