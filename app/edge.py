"""The outermost layers of the API: one log line per request, no exception past them, no body over the limit."""

import time
from collections.abc import Callable
from uuid import uuid4

import structlog
from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import tracing
from app.errors import BodyTooLarge, InternalError
from app.metrics import METHODS, Requests
from app.problems import Answer, counting, problem_response

# What holds unless an answer says otherwise, as pages do: no answer is a page, is shown in one, or is kept.
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds, by nobody who looks at traces
_log = structlog.get_logger(__name__)


class Edge:
    """Numbers, times, counts and logs each request, and answers for a failure that nothing else caught."""

    def __init__(self, app: ASGIApp, requests: Requests, answer: Answer) -> None:
        self.app = app
        self.requests = requests
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"] in UNTRACED:
            await self._answered(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "other"
        with tracing.span(method, SpanKind.SERVER, Headers(scope=scope).get(tracing.PARENT)) as span:
            status = await self._answered(scope, receive, send)
            route = _route(scope)
            if route is not None:
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)
            span.set_attribute("http.request.method", method)
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                tracing.failed(span, str(status))

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Have a request answered, and return the status; 0 if nobody was there any more to hear it."""
        began, request_id, status = time.monotonic(), uuid4().hex, 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # Here and not at the end: an event stream lasts as long as its caller likes.
                self.requests.answered(scope["method"], _route(scope), status, time.monotonic() - began)
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception:
            # The boundary of a request: the log gets the places, never the message, and the caller a problem.
            _log.exception("request failed", request_id=request_id)
            if status == 0:
                await self._apology(scope)(scope, receive, answer)
        finally:
            _log.info(
                "request",
                request_id=request_id,
                method=scope["method"],
                route=_route(scope),
                status_code=status,
                milliseconds=round((time.monotonic() - began) * 1000, 1),
            )
        return status

    def _apology(self, scope: Scope) -> Response:
        """What is said of a failure; where the page of it fails too, the bare problem."""
        try:
            return self.answer(Request(scope), InternalError())
        except Exception:
            return problem_response(InternalError())


def _route(scope: Scope) -> str | None:
    """The template of the path: the path itself may hold anything."""
    return getattr(scope.get("route"), "path", None)


class BodyLimit:
    """Reads the body first, and refuses it as soon as it is too large; `count` counts such a call, as others do."""

    def __init__(self, app: ASGIApp, limit: int, count: Callable[[Request], object]) -> None:
        self.app = app
        self.limit = limit
        self.count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self.limit:
            await self._refuse(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.limit:
                await self._refuse(scope, receive, send)
                return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self.app(scope, replay, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        too_large = problem_response(BodyTooLarge(f"At most {self.limit} bytes."))
        response = await counting(Request(scope), too_large, self.count)
        response.headers["Connection"] = "close"  # the rest of the body is on its way
        await response(scope, receive, send)
