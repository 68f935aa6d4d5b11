"""Webhooks: who is told when a deletion has settled, and the log of how that went."""

import re
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query, Response

from app import errors
from app.access import Scope
from app.api.deps import JsonBody, TheCaller, TheServices, needs
from app.openapi import PAGED, SUBSCRIBED, WITH_BODY, problems
from app.schemas import WebhookRegistration
from app.webhooks.views import DeliveryPage, DeliveryView, NewWebhookView, WebhookPage, WebhookView

router = APIRouter(tags=["webhooks"], dependencies=[needs(Scope.ADMIN)])
EXAMPLE_ID = "whk_5f1c0a9e7d6b7f3a9c1e2b4d6f8a0b1c"
_MESSAGE = re.compile(r"^msg_[0-9a-f]{32}$")
_WEBHOOK = re.compile(r"^whk_[0-9a-f]{32}$")


def the_webhook_id(
    webhook_id: Annotated[str, Path(description="Id of a webhook.", examples=[EXAMPLE_ID])],
) -> str:
    """An id that a webhook can have, or a 404."""
    if not _WEBHOOK.fullmatch(webhook_id):
        raise errors.WebhookNotFound
    return webhook_id


WebhookId = Annotated[str, Depends(the_webhook_id)]


@router.post(
    "/webhooks",
    status_code=201,
    summary="Register a webhook",
    dependencies=[JsonBody],
    response_description="Registered. Its secret is shown this once.",
    responses=SUBSCRIBED | problems(*WITH_BODY, errors.InvalidRequest, errors.UnknownField, errors.CallbackNotAllowed),
)
def register_webhook(
    body: WebhookRegistration, services: TheServices, caller: TheCaller, response: Response
) -> NewWebhookView:
    """An address that deletions may name as their `callback_url`. It is told the id and the status, signed as Standard
    Webhooks says, for three days until it answers with 2xx. Registering it again gives it a new secret, and the one
    before signs nothing more: do that after a leak, and rotate otherwise.
    """
    endpoint = services.endpoints.register(caller, body.url)
    response.headers["Location"] = f"/webhooks/{endpoint.id}/deliveries"
    return NewWebhookView.of(endpoint)


@router.get("/webhooks", summary="List the webhooks", responses=problems())
def list_webhooks(services: TheServices, caller: TheCaller) -> WebhookPage:
    """Every webhook, with whether it is still told anything."""
    return WebhookPage(items=[WebhookView.of(endpoint) for endpoint in services.endpoints.all(caller)])


@router.post(
    "/webhooks/{webhook_id}/rotate",
    summary="Give a webhook a new secret",
    response_description="Its calls carry two signatures for 24 hours. The new secret is shown this once.",
    responses=problems(errors.WebhookNotFound),
)
def rotate_webhook(services: TheServices, caller: TheCaller, webhook_id: WebhookId) -> NewWebhookView:
    """Sign with a fresh secret and, for 24 hours, with the one before as well, as Standard Webhooks says: a receiver
    that knows either accepts. Within that time, give it the new one.
    """
    return NewWebhookView.of(services.endpoints.rotate(caller, webhook_id))


@router.delete("/webhooks/{webhook_id}", summary="Disable a webhook", responses=problems(errors.WebhookNotFound))
def disable_webhook(services: TheServices, caller: TheCaller, webhook_id: WebhookId) -> WebhookView:
    """Tell it nothing more. The log of its deliveries stays for 30 days."""
    return WebhookView.of(services.endpoints.disable(caller, webhook_id))


@router.get(
    "/webhooks/{webhook_id}/deliveries",
    summary="Read a webhook's deliveries",
    response_description="A page; its `Link` header points at the next one.",
    responses=PAGED | problems(errors.WebhookNotFound, errors.MalformedCursor, errors.InvalidRequest),
)
def list_deliveries(
    services: TheServices,
    caller: TheCaller,
    response: Response,
    webhook_id: WebhookId,
    limit: Annotated[int, Query(ge=1, le=100, description="Items per page.")] = 20,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> DeliveryPage:
    """What it was told, newest first: tries, the last answer, and when it is tried again."""
    if cursor is not None and not _MESSAGE.match(cursor):
        raise errors.MalformedCursor
    rows = services.endpoints.log(caller, webhook_id, limit, cursor)
    following = rows[limit - 1].id if len(rows) > limit else None
    if following is not None:
        query = urlencode({"limit": limit, "cursor": following})
        response.headers["Link"] = f'</webhooks/{webhook_id}/deliveries?{query}>; rel="next"'
    return DeliveryPage(items=[DeliveryView.of(row) for row in rows[:limit]], next=following)
