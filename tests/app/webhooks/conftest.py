"""A service whose webhooks lead to this machine, and somebody who is told."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pytest_httpserver import HTTPServer
from sqlalchemy import select

from app.models import WebhookDelivery
from app.services import Services
from app.settings import Settings
from app.webhooks.courier import Courier
from app.webhooks.outbox import Outbox
from tests.conftest import FRANCE, FakePipeline, wired, worker_on


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The receiver of these tests is on this machine; sweeps happen when a test says so."""
    return settings.model_copy(update={"webhook_allow_private": True, "sweep_seconds": 3600.0})


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    """Somebody else's server."""
    with HTTPServer() as server:
        yield server


def courier_of(services: Services, **more: Any) -> Courier:
    """A courier that is called by hand, on the duty of its own process."""
    courier = Courier(services.database, Outbox(services.database, services.sealer), services.settings, **more)
    courier._owner = services.courier._owner
    return courier


def registered(client: TestClient, url: str) -> dict[str, Any]:
    answer = client.post("/webhooks", json={"url": url})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def submitted(client: TestClient, url: str) -> str:
    answer = client.post("/deletions", json={**FRANCE, "callback_url": url})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def settled(client: TestClient, url: str) -> str:
    """A deletion that a worker has ended and that tells this address."""
    deletion = submitted(client, url)
    worker_on(wired(client), FakePipeline(), f"wrk_{deletion[-8:]}").runner.work()
    return deletion


def log(client: TestClient, webhook: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get(f"/webhooks/{webhook}/deliveries").json()["items"]
    return items


def later(client: TestClient, seconds: float) -> None:
    """Time passes for whatever waits."""
    with wired(client).database.write() as session:
        waiting = session.scalars(select(WebhookDelivery).where(WebhookDelivery.next_at.is_not(None)))
        for row in waiting:
            assert row.next_at is not None
            row.next_at -= timedelta(seconds=seconds)
