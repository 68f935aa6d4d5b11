"""Every call of the API as a value: what is sent, how its answer is read, and whether it may be sent again.

The sync and the async client send the same calls.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import BaseModel, ValidationError

from app.access import is_loopback
from app.client.errors import ClientError, NotUnderstood, Unreachable, error_of, seconds
from app.client.records import (
    Deletion,
    DeliveryPage,
    Model,
    ModelPage,
    NewWebhook,
    Page,
    Readiness,
    Receipt,
    Webhook,
    WebhookPage,
)
from app.client.requests import DeletionRequest
from app.report import Report

T = TypeVar("T")
R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One exchange."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    json: Any = None
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True  # sending it twice does what sending it once does


def submit(request: DeletionRequest, idempotency_key: str | None) -> Call[Receipt]:
    """Post a deletion. Its key makes it repeatable: sent twice, it is still one deletion."""
    headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
    return Call("POST", "/deletions", record(Receipt), json=request, headers=headers)


def get(deletion_id: str) -> Call[Deletion]:
    """How a deletion stands."""
    return Call("GET", _path(deletion_id), record(Deletion))


def poll(deletion_id: str) -> Call[tuple[Deletion, float | None]]:
    """The same, with the seconds that the service asks to wait."""
    read = record(Deletion)
    return Call("GET", _path(deletion_id), lambda answer: (read(answer), seconds(answer.headers.get("retry-after"))))


def page(wanted: Mapping[str, str | int | None], cursor: str | None) -> Call[Page]:
    """A page of the list."""
    params = {name: value for name, value in {**wanted, "cursor": cursor}.items() if value is not None}
    return Call("GET", "/deletions", record(Page), params=params)


def decide(deletion_id: str, decision: str) -> Call[Deletion]:
    """`retry`, `approve` or `reject`."""
    return Call("POST", f"{_path(deletion_id)}/{decision}", record(Deletion), repeatable=False)


def cancel(deletion_id: str) -> Call[Deletion]:
    """Stop a deletion."""
    return Call("DELETE", _path(deletion_id), record(Deletion), repeatable=False)


def report(deletion_id: str) -> Call[Report]:
    """The evaluation."""
    accept = {"Accept": "application/json"}
    return Call("GET", f"{_path(deletion_id)}/report", record(Report), headers=accept)


def certificate(deletion_id: str) -> Call[bytes]:
    """The signed statement, byte for byte."""
    return Call("GET", f"{_path(deletion_id)}/certificate", lambda answer: answer.content)


def public_keys() -> Call[bytes]:
    """The keys that certificates are signed with, as JWKS."""
    return Call("GET", "/.well-known/jwks.json", lambda answer: answer.content)


def models() -> Call[list[Model]]:
    """The models that are served."""
    return Call("GET", "/models", lambda answer: record(ModelPage)(answer).items)


def webhooks() -> Call[list[Webhook]]:
    """The webhooks of the tenant."""
    return Call("GET", "/webhooks", lambda answer: record(WebhookPage)(answer).items)


def add_webhook(url: str) -> Call[NewWebhook]:
    """Register a webhook. Sent twice it would have another secret than the one that was shown."""
    return Call("POST", "/webhooks", record(NewWebhook), json={"url": url}, repeatable=False)


def rotate_webhook(webhook_id: str) -> Call[NewWebhook]:
    """Give a webhook a new secret."""
    return Call("POST", f"{_webhook(webhook_id)}/rotate", record(NewWebhook), repeatable=False)


def remove_webhook(webhook_id: str) -> Call[Webhook]:
    """Tell a webhook nothing more."""
    return Call("DELETE", _webhook(webhook_id), record(Webhook))


def deliveries(webhook_id: str, wanted: Mapping[str, str | int], cursor: str | None) -> Call[DeliveryPage]:
    """A page of what a webhook was told."""
    params = {**wanted, "cursor": cursor} if cursor is not None else wanted
    return Call("GET", f"{_webhook(webhook_id)}/deliveries", record(DeliveryPage), params=params)


def readiness() -> Call[Readiness]:
    """Whether the service can work, and its workers."""
    return Call("GET", "/readyz", record(Readiness), repeatable=False)


def adapter_path(deletion_id: str) -> str:
    """Where the adapter is."""
    return f"{_path(deletion_id)}/adapter"


def events_path(deletion_id: str) -> str:
    """Where the live events are."""
    return f"{_path(deletion_id)}/events"


def answered(call: Call[T], response: httpx.Response) -> T:
    """What a call came to; raises the error that its answer stands for."""
    if not response.is_success:
        raise error_of(response)
    return call.read(response)


def record(kind: type[R]) -> Callable[[httpx.Response], R]:
    """Reads an answer as a record; raises NotUnderstood."""

    def read(response: httpx.Response) -> R:
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise NotUnderstood(
                f"{response.request.url.path} answered with something that is no {kind.__name__} of this version."
            ) from error

    return read


def unreachable(server: object, error: httpx.TransportError) -> ClientError:
    """What a broken exchange means; the request's content is not in it."""
    why = "took too long" if isinstance(error, httpx.TimeoutException) else "does not answer"
    return Unreachable(f"The service at {server} {why}.")


def _webhook(webhook_id: str) -> str:
    return f"/webhooks/{quote(webhook_id, safe='')}"


def _path(deletion_id: str) -> str:
    return f"/deletions/{quote(deletion_id, safe='')}"


def by_proxy(server: str) -> bool:
    """Whether the environment's proxy may be between: not where the service is this machine's own."""
    return not is_loopback(httpx.URL(server).host)
