"""What endpoints are to be told. The database is the queue: nothing that has happened is lost with a process.

A message is found by comparing: a deletion that has settled since its endpoint was last told of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, func, or_, select, update

from app import clock
from app.database import Database
from app.errors import SealBroken
from app.models import Callback, Deletion, Secret, Status, Webhook, WebhookDelivery
from app.sealing import Sealer
from app.vault import owner

SETTLED = (Status.COMPLETED, Status.NEEDS_REVIEW, Status.FAILED, Status.CANCELED)
# Waits after each failed try, as Standard Webhooks advises: 10 tries over three days.
_HOUR = 3600
WAITS = (5, 300, 1800, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR)
GONE = 410
PER_ENDPOINT = 4  # of one batch: one that answers slowly is waited for this often at once
KEPT = timedelta(days=30)  # how long the log of deliveries is
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Message:
    """One delivery, ready to be signed and sent."""

    id: str
    webhook_id: str
    url: str
    secrets: Sequence[str]  # while one takes over from another, both sign
    body: str


@dataclass(frozen=True)
class Answer:
    """What came of one try."""

    status: int | None  # the HTTP status, where there was an answer
    error: str | None  # a word for what went wrong: timeout, unreachable, redirect, refused, not_allowed, unreadable

    @property
    def delivered(self) -> bool:
        """Whether the endpoint has taken it."""
        return self.error is None


class Outbox:
    """Deliveries, from the moment something is to be told until it was, or nobody listened for three days."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    def gather(self, now: datetime) -> int:
        """Write a delivery for every deletion that has settled since it was last told of; how many."""
        untold = or_(Callback.told_at.is_(None), Callback.told_at < Deletion.updated_at)
        wanted = (
            select(Deletion.id, Deletion.status, Deletion.updated_at, Callback.webhook_id)
            .join(Callback, Callback.deletion_id == Deletion.id)
            .join(Webhook, Webhook.id == Callback.webhook_id)
            .where(untold, Deletion.status.in_(SETTLED), Webhook.disabled_at.is_(None))
            .limit(1000)
        )
        with self._database.read() as session:
            if not session.execute(wanted.limit(1)).all():
                return 0
        with self._database.write() as session:
            rows = session.execute(wanted).all()
            for row in rows:
                session.add(
                    WebhookDelivery(
                        id=clock.new_id("msg_"),
                        webhook_id=row.webhook_id,
                        deletion_id=row.id,
                        told_status=row.status,
                        happened_at=row.updated_at,
                        tries=0,
                        next_at=now,
                        created_at=now,
                    )
                )
                session.execute(update(Callback).where(Callback.deletion_id == row.id).values(told_at=row.updated_at))
            return len(rows)

    def due(self, now: datetime, limit: int) -> Sequence[Message]:
        """What is to be sent now, the longest waiting first, and of every tenant as much as of any other."""
        oldest = (WebhookDelivery.next_at, WebhookDelivery.id)
        at_endpoint = func.row_number().over(partition_by=WebhookDelivery.webhook_id, order_by=oldest)
        waiting = (
            select(WebhookDelivery.id, WebhookDelivery.next_at, Webhook.tenant, at_endpoint.label("place"))
            .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
            .where(WebhookDelivery.next_at <= now, Webhook.disabled_at.is_(None))
            .subquery()
        )
        turn = func.row_number().over(partition_by=waiting.c.tenant, order_by=(waiting.c.next_at, waiting.c.id))
        wanted = (
            select(WebhookDelivery, Webhook, Secret)
            .join(waiting, waiting.c.id == WebhookDelivery.id)
            .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
            .join(Secret, Secret.name == Webhook.key_name)
            .where(waiting.c.place <= PER_ENDPOINT)
            .order_by(turn, waiting.c.next_at)
            .limit(limit)
        )
        with self._database.read() as session:
            rows = session.execute(wanted).all()
        messages = []
        for delivery, webhook, key in rows:
            try:
                messages.append(self._message(delivery, webhook, key, now))
            except SealBroken:
                _log.error("a webhook cannot be opened", deletion_id=delivery.deletion_id)
                self.record(Message(delivery.id, webhook.id, "", (), ""), Answer(None, "unreadable"), now)
        return messages

    def record(self, message: Message, answer: Answer, now: datetime) -> None:
        """Note what came of a try: delivered, to be tried again, or given up."""
        with self._database.write() as session:
            row = session.get(WebhookDelivery, message.id, with_for_update=True)
            if row is None or row.next_at is None:  # another courier was here
                return
            row.tries, row.last_status, row.last_error, row.tried_at = row.tries + 1, answer.status, answer.error, now
            if answer.delivered:
                row.delivered_at, row.next_at = now, None
            elif answer.status == GONE:
                row.next_at = None
                self._disable(session.get(Webhook, message.webhook_id), now)
            elif row.tries > len(WAITS):
                row.next_at = None
                _log.warning("webhook given up", deletion_id=row.deletion_id, attempt=row.tries, code=answer.error)
            else:
                row.next_at = now + timedelta(seconds=WAITS[row.tries - 1])

    def next_due(self) -> datetime | None:
        """When the next delivery is to be tried."""
        with self._database.read() as session:
            wanted = select(WebhookDelivery.next_at).join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
            waiting = wanted.where(WebhookDelivery.next_at.is_not(None), Webhook.disabled_at.is_(None))
            return session.scalar(waiting.order_by(WebhookDelivery.next_at).limit(1))

    def forget_older(self, now: datetime) -> None:
        """Drop what has been in the log for long enough, and secrets that no longer sign."""
        retired = Webhook.retiring_until < now
        with self._database.read() as session:
            over = session.scalar(select(Webhook.id).where(retired).limit(1)) is not None
        if over:
            with self._database.write() as session:
                session.execute(update(Webhook).where(retired).values(sealed_retiring=None, retiring_until=None))
        old = WebhookDelivery.next_at.is_(None) & (WebhookDelivery.created_at < now - KEPT)
        with self._database.read() as session:
            if session.scalar(select(WebhookDelivery.id).where(old).limit(1)) is None:
                return
        with self._database.write() as session:
            session.execute(delete(WebhookDelivery).where(old))

    def _message(self, delivery: WebhookDelivery, webhook: Webhook, key: Secret, now: datetime) -> Message:
        """The thin payload: what happened to which deletion; whoever may know more asks the API."""
        body = {
            "type": f"deletion.{delivery.told_status}",
            "timestamp": delivery.happened_at.isoformat(),
            "data": {"id": delivery.deletion_id, "status": delivery.told_status},
        }
        parts = [("url", webhook.sealed_url), ("secret", webhook.sealed_secret)]
        if webhook.sealed_retiring is not None and webhook.retiring_until is not None and webhook.retiring_until > now:
            parts.append(("retiring", webhook.sealed_retiring))
        url, *secrets = (
            self._sealer.open(key.wrapped, owner(key.name), part, sealed).decode() for part, sealed in parts
        )
        return Message(delivery.id, webhook.id, url, secrets, json.dumps(body))

    def _disable(self, webhook: Webhook | None, now: datetime) -> None:
        """The endpoint has said that it is gone (410)."""
        if webhook is not None:
            webhook.disabled_at, webhook.disabled_why = now, "gone"
