"""What can go wrong for a caller, as one tree.

ClientError
├── Unreachable           no answer
├── NotUnderstood         an answer, but not one of this service
├── BrokenDownload        a file that is not what the service said it would be
└── ServiceProblem        the service's own problem+json
    ├── BadRequest        400, 413, 415, 416, 422
    ├── KeyRefused        401, 403
    ├── NotFound          404
    ├── Conflict          409
    ├── TooManyRequests   429
    └── ServerFailed      500 and above
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

MEDIA_TYPE = "application/problem+json"
IN_FLIGHT = "request-in-flight"
# Answers after which the same request may be accepted a little later; 502 and 504 are a proxy's.
PASSING = frozenset({429, 502, 503, 504})


class ClientError(Exception):
    """The service could not be asked."""

    passing: bool = False  # the same request may succeed a little later
    retry_after: float | None = None  # seconds


class Unreachable(ClientError):
    """The service does not answer."""

    passing = True


class NotUnderstood(ClientError):
    """The answer is not one that this client understands: another service, or another version of it."""


class BrokenDownload(ClientError):
    """What was downloaded is not what the service has: size or digest differ."""


@dataclass(frozen=True)
class WrongField:
    """A field of the request that is wrong; its value is never repeated."""

    field: str
    type: str
    detail: str


class ServiceProblem(ClientError):
    """The service refused, and said why."""

    def __init__(
        self,
        status: int,
        type: str,
        title: str,
        detail: str | None = None,
        fields: Sequence[WrongField] = (),
        retry_after: float | None = None,
    ) -> None:
        self.status, self.type, self.title, self.detail = status, type, title, detail
        self.fields = tuple(fields)
        self.retry_after = retry_after
        self.passing = status in PASSING or self.kind == IN_FLIGHT
        super().__init__("\n".join(self._lines()))

    @property
    def kind(self) -> str:
        """The last part of the `type`, such as `not-in-review`."""
        return self.type.rsplit("/", 1)[-1]

    def _lines(self) -> list[str]:
        """Title, detail, and the fields that are wrong."""
        detail = [self.detail] if self.detail and self.detail != self.title else []
        return [self.title, *detail, *(f"  {wrong.field}: {wrong.detail}" for wrong in self.fields)]


class BadRequest(ServiceProblem):
    """The request cannot be accepted as it is."""


class KeyRefused(ServiceProblem):
    """The API key is missing, unknown or does not allow this."""


class NotFound(ServiceProblem):
    """There is no such thing, or it is somebody else's."""


class Conflict(ServiceProblem):
    """It is not in a state that allows this."""


class TooManyRequests(ServiceProblem):
    """The key has asked too often."""


class ServerFailed(ServiceProblem):
    """The service failed."""


_BY_STATUS: Mapping[int, type[ServiceProblem]] = {
    401: KeyRefused,
    403: KeyRefused,
    404: NotFound,
    409: Conflict,
    429: TooManyRequests,
}


def error_of(response: httpx.Response) -> ClientError:
    """The error that a response stands for; its body must have been read."""
    retry_after = seconds(response.headers.get("retry-after"))
    body = _problem(response)
    if body is None and response.status_code not in PASSING:
        where = response.request.url.copy_with(query=None)
        return NotUnderstood(f"{where} answered {response.status_code} {response.reason_phrase}, without saying why.")
    body = body or {}
    kind = _BY_STATUS.get(response.status_code, ServerFailed if response.is_server_error else BadRequest)
    return kind(
        response.status_code,
        str(body.get("type") or "about:blank"),
        str(body.get("title") or f"The service answered {response.status_code} {response.reason_phrase}."),
        str(body["detail"]) if body.get("detail") else None,
        [_field(wrong) for wrong in body.get("errors") or [] if isinstance(wrong, dict)],
        retry_after,
    )


def seconds(header: str | None) -> float | None:
    """Retry-After in seconds; None where it is absent or a date, which this service never sends."""
    return float(header) if header is not None and header.isdecimal() else None


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    """The problem+json of a response, if it holds one."""
    if response.headers.get("content-type", "").partition(";")[0].strip() != MEDIA_TYPE:
        return None
    try:
        body = json.loads(response.content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _field(wrong: Mapping[str, Any]) -> WrongField:
    return WrongField(*(str(wrong.get(name, "")) for name in ("field", "type", "detail")))
