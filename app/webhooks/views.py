"""What the service answers about webhooks."""

from datetime import datetime

from pydantic import Field

from app.models import Status, WebhookDelivery
from app.views import View
from app.webhooks.endpoints import Endpoint


class WebhookView(View):
    """An address that deletions may name as their `callback_url`."""

    id: str
    url: str
    created_at: datetime
    retiring_until: datetime | None = Field(description="Until when its calls are signed with the secret before, too.")
    disabled_at: datetime | None = Field(description="Since when it is told nothing more.")
    disabled_why: str | None = Field(description="`gone`: it answered 410; `operator`: on request.")

    @classmethod
    def of(cls, endpoint: Endpoint) -> "WebhookView":
        """The endpoint without its secret."""
        return cls(
            id=endpoint.id,
            url=endpoint.url,
            created_at=endpoint.created_at,
            retiring_until=endpoint.retiring_until,
            disabled_at=endpoint.disabled_at,
            disabled_why=endpoint.disabled_why,
        )


class NewWebhookView(WebhookView):
    """A webhook with a secret that was just made."""

    secret: str | None = Field(description="What its calls are signed with (`whsec_…`); shown this once.")

    @classmethod
    def of(cls, endpoint: Endpoint) -> "NewWebhookView":
        """The endpoint with its secret."""
        return cls(**WebhookView.of(endpoint).model_dump(), secret=endpoint.secret)


class WebhookPage(View):
    """Every webhook of the caller."""

    items: list[WebhookView]
    next: str | None = Field(default=None, description="Always null: webhooks are few.")


class DeliveryView(View):
    """One thing that a webhook was told, or will be."""

    id: str = Field(description="The `webhook-id` header of every try.")
    deletion: str
    status: Status = Field(description="What it was told.")
    tries: int
    last_status: int | None = Field(description="HTTP status of the last answer.")
    last_error: str | None = Field(description="timeout, unreachable, redirect, refused, not_allowed or unreadable.")
    tried_at: datetime | None
    next_at: datetime | None = Field(description="When it is tried again; null once delivered or given up.")
    delivered_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, row: WebhookDelivery) -> "DeliveryView":
        """The row as it was read."""
        return cls(
            id=row.id,
            deletion=row.deletion_id,
            status=row.told_status,
            tries=row.tries,
            last_status=row.last_status,
            last_error=row.last_error,
            tried_at=row.tried_at,
            next_at=row.next_at,
            delivered_at=row.delivered_at,
            created_at=row.created_at,
        )


class DeliveryPage(View):
    """Deliveries, newest first."""

    items: list[DeliveryView]
    next: str | None = Field(description="Cursor of the next page; null on the last one.")
