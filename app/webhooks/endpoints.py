"""The only writer of the webhooks table: endpoints with their signing secrets, both sealed, and who is told of what."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import audit, clock
from app.access import Caller
from app.database import Database
from app.errors import UnknownCallback, WebhookNotFound
from app.models import Callback, Secret, Webhook, WebhookDelivery
from app.sealing import Sealer
from app.settings import Settings
from app.vault import owner, present_epoch
from app.webhooks.addresses import checked

SECRET_BYTES = 32
OVERLAP = timedelta(hours=24)  # how long calls are signed with the secret before, too


@dataclass(frozen=True)
class Endpoint:
    """An endpoint in the clear; its secret only when it has just been made."""

    id: str
    url: str
    created_at: datetime
    disabled_at: datetime | None
    disabled_why: str | None
    retiring_until: datetime | None
    secret: str | None = None


class Endpoints:
    """A tenant's webhooks."""

    def __init__(self, database: Database, sealer: Sealer, settings: Settings) -> None:
        self._database = database
        self._sealer = sealer
        self._allow_private = settings.webhook_allow_private

    def register(self, caller: Caller, url: str) -> Endpoint:
        """Make an endpoint, or give a known one a fresh secret and enable it again; the secret is shown this once."""
        checked(url, allow_private=self._allow_private)
        try:
            return self._register(caller, url)
        except IntegrityError:  # somebody else made the very same one in this moment: now it is known
            return self._register(caller, url)

    def _register(self, caller: Caller, url: str) -> Endpoint:
        secret = _new_secret()
        now, url_hash = clock.now(), _hash(self._sealer, caller.tenant, url)
        with self._database.write() as session:
            row = session.scalar(
                select(Webhook).where(Webhook.tenant == caller.tenant, Webhook.url_hash == url_hash).with_for_update()
            )
            if row is None:
                row = Webhook(id=f"whk_{uuid4().hex}", tenant=caller.tenant, url_hash=url_hash, created_at=now)
            key = self._fresh_key(session, row, now)
            row.sealed_url = self._sealer.seal(key.wrapped, owner(key.name), "url", url.encode())
            row.sealed_secret = self._sealer.seal(key.wrapped, owner(key.name), "secret", secret.encode())
            row.sealed_retiring = row.retiring_until = row.disabled_at = row.disabled_why = None
            session.add(row)
            audit.record(session, now, row.tenant, caller.actor, "webhook.registered", None, webhook=row.id)
            return self._clear(row, key, secret)

    def rotate(self, caller: Caller, webhook_id: str) -> Endpoint:
        """Sign with a fresh secret, shown this once, and for a day with the one before as well; raises WebhookNotFound.

        Of a secret before that one nothing is left.
        """
        secret, now = _new_secret(), clock.now()
        with self._database.write() as session:
            row = _get(session, caller, webhook_id, lock=True)
            key = session.get_one(Secret, row.key_name)
            before = self._sealer.open(key.wrapped, owner(key.name), "secret", row.sealed_secret)
            row.sealed_retiring = self._sealer.seal(key.wrapped, owner(key.name), "retiring", before)
            row.sealed_secret = self._sealer.seal(key.wrapped, owner(key.name), "secret", secret.encode())
            row.retiring_until = now + OVERLAP
            audit.record(session, now, row.tenant, caller.actor, "webhook.rotated", None, webhook=row.id)
            return self._clear(row, key, secret)

    def _fresh_key(self, session: Session, row: Webhook, now: datetime) -> Secret:
        """A new key for an endpoint. As one of the service's secrets, it is wrapped anew when master keys rotate."""
        row.key_name = f"webhook:{row.id}"
        epoch = present_epoch(session)
        wrapped = self._sealer.new_key(owner(row.key_name), epoch)
        key = session.merge(Secret(name=row.key_name, epoch=epoch, wrapped=wrapped, created_at=now))
        session.flush()  # the key before the row that refers to it
        return key

    def all(self, caller: Caller) -> list[Endpoint]:
        """The caller's endpoints, oldest first."""
        with self._database.read() as session:
            wanted = select(Webhook, Secret).join(Secret, Secret.name == Webhook.key_name)
            mine = wanted.where(Webhook.tenant == caller.tenant).order_by(Webhook.created_at, Webhook.id)
            return [self._clear(row, key) for row, key in session.execute(mine)]

    def disable(self, caller: Caller, webhook_id: str) -> Endpoint:
        """Tell it nothing more; its log stays. Raises WebhookNotFound."""
        now = clock.now()
        with self._database.write() as session:
            row = _get(session, caller, webhook_id)
            if row.disabled_at is None:
                row.disabled_at, row.disabled_why = now, "operator"
                audit.record(session, now, row.tenant, caller.actor, "webhook.disabled", None, webhook=row.id)
            return self._clear(row, session.get_one(Secret, row.key_name))

    def log(self, caller: Caller, webhook_id: str, limit: int, before: str | None) -> Sequence[WebhookDelivery]:
        """Deliveries to an endpoint, newest first, one more than asked for if there are more."""
        with self._database.read() as session:
            row = _get(session, caller, webhook_id)
            wanted = select(WebhookDelivery).where(WebhookDelivery.webhook_id == row.id)
            if before is not None:
                wanted = wanted.where(WebhookDelivery.id < before)
            return list(session.scalars(wanted.order_by(WebhookDelivery.id.desc()).limit(limit + 1)))

    def _clear(self, row: Webhook, key: Secret, secret: str | None = None) -> Endpoint:
        url = self._sealer.open(key.wrapped, owner(key.name), "url", row.sealed_url).decode()
        until = row.retiring_until if row.retiring_until and row.retiring_until > clock.now() else None
        return Endpoint(row.id, url, row.created_at, row.disabled_at, row.disabled_why, until, secret)


def subscribe(session: Session, sealer: Sealer, tenant: str, deletion_id: str, url: str) -> None:
    """Tell this endpoint how the deletion ends, in the transaction that accepts it; raises UnknownCallback."""
    webhook = session.scalar(
        select(Webhook.id).where(
            Webhook.tenant == tenant, Webhook.url_hash == _hash(sealer, tenant, url), Webhook.disabled_at.is_(None)
        )
    )
    if webhook is None:
        detail = "must be the address of a webhook: register it first with POST /webhooks, which gives you its secret"
        raise UnknownCallback(fields=[{"field": "callback_url", "type": UnknownCallback.uri(), "detail": detail}])
    session.add(Callback(deletion_id=deletion_id, webhook_id=webhook))


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _get(session: Session, caller: Caller, webhook_id: str, *, lock: bool = False) -> Webhook:
    wanted = select(Webhook).where(Webhook.tenant == caller.tenant, Webhook.id == webhook_id)
    row = session.scalar(wanted.with_for_update() if lock else wanted)
    if row is None:
        raise WebhookNotFound
    return row


def _hash(sealer: Sealer, tenant: str, url: str) -> str:
    return sealer.fingerprint("webhook url", f"{tenant}\x00{url}")
