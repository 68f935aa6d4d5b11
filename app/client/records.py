"""What the service answers with, as a caller sees it. Unknown fields are ignored: the service may be newer."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

FINISHED = frozenset({"completed", "failed", "canceled"})
SETTLED = FINISHED | {"needs_review"}


class Record(BaseModel):
    """A frozen answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Links(Record):
    """Where to go from a deletion; None when there is nothing there yet."""

    self: str
    report: str | None = None
    adapter: str | None = None
    certificate: str | None = None


class Failure(Record):
    """Why a deletion failed."""

    code: str
    message: str


class Extension(Record):
    """Why a deletion is due later than a month after receipt."""

    months: int
    reason: str


class Receipt(Record):
    """A deletion was accepted."""

    id: str
    status: str
    model: str
    created_at: datetime
    due_at: datetime
    links: Links


class Deletion(Record):
    """A deletion as it stood when it was asked for."""

    id: str
    model: str
    status: str  # queued, running, completed, needs_review, failed, canceled
    outcome: str | None  # of a completed one: forgotten, not_known
    approved: bool
    stage: str | None
    progress: float
    waiting_for: str | None  # worker, retry, store
    attempt: int
    cancel_requested: bool
    error: Failure | None
    reference: str | None
    legal_basis: str
    targets: int
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime
    extension: Extension | None
    overdue: bool
    purged_at: datetime | None  # when the key of the request was destroyed
    links: Links

    @property
    def settled(self) -> bool:
        """Nothing more will happen to it by itself: it has finished, or waits for an operator's review."""
        return self.status in SETTLED


class Page(Record):
    """Deletions, newest first, and the cursor of the next page."""

    items: list[Deletion]
    next: str | None


class Model(Record):
    """A base model that is served."""

    id: str
    source: str
    revision: str | None
    decoder: str
    sketch_rank: int
    context_length: int
    created_at: datetime
    workers: int
    calibrated: bool


class ModelPage(Record):
    """Every model."""

    items: list[Model]


class Webhook(Record):
    """An address that deletions may name as their `callback_url`."""

    id: str
    url: str
    created_at: datetime
    retiring_until: datetime | None = None  # until when its calls are signed with the secret before, too
    disabled_at: datetime | None
    disabled_why: str | None  # gone, operator


class NewWebhook(Webhook):
    """A webhook whose secret was just made; it is shown this once."""

    secret: str


class WebhookPage(Record):
    """Every webhook."""

    items: list[Webhook]


class Delivery(Record):
    """One thing that a webhook was told, or will be."""

    id: str
    deletion: str
    status: str  # what it was told
    tries: int
    last_status: int | None
    last_error: str | None  # timeout, unreachable, redirect, refused, not_allowed
    tried_at: datetime | None
    next_at: datetime | None  # None once delivered or given up
    delivered_at: datetime | None
    created_at: datetime


class DeliveryPage(Record):
    """Deliveries, newest first, and the cursor of the next page."""

    items: list[Delivery]
    next: str | None


class Worker(Record):
    """A worker process, as it last reported."""

    id: str
    model: str
    device: str
    state: str  # loading, ready, busy, stopped
    detail: str | None
    heartbeat_at: datetime


class Readiness(Record):
    """That the service can work, and its workers."""

    status: str
    workers: list[Worker]


@dataclass(frozen=True)
class Download:
    """A file that has been downloaded whole and checked."""

    path: Path
    sha256: str
    size: int
