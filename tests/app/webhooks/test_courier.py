"""Odd, slow and many receivers: none of them holds up another."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
import pytest
from fastapi.testclient import TestClient
from pytest_httpserver import HTTPServer
from sqlalchemy import update

from app import clock
from app.access import LOCAL
from app.models import Duty, WebhookDelivery
from app.webhooks.courier import AT_ONCE
from app.webhooks.outbox import PER_ENDPOINT, Answer, Message, Outbox
from tests.app.webhooks.conftest import courier_of, log, registered, settled, submitted
from tests.conftest import wired


class Redirecting(BaseHTTPRequestHandler):
    """Answers every call with one and the same redirect, and keeps its connections."""

    protocol_version = "HTTP/1.1"
    location = "mailto:x"
    ports: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        self.ports.append(self.client_address[1])
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(302)
        self.send_header("Location", self.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def redirecting() -> Iterator[str]:
    """The address of a server that redirects to what is no address of the web."""
    Redirecting.ports.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/told"
        server.shutdown()


def test_a_redirect_that_leads_nowhere_holds_up_nobody(client: TestClient, receiver: HTTPServer, redirecting: str):
    receiver.expect_request("/told").respond_with_data()
    webhooks = [registered(client, url) for url in (redirecting, receiver.url_for("/told"))]
    for webhook in webhooks:
        settled(client, webhook["url"])
    assert courier_of(wired(client)).sweep()
    odd, good = (log(client, webhook["id"])[0] for webhook in webhooks)
    assert (odd["last_status"], odd["last_error"], odd["tries"]) == (302, "redirect", 1)
    assert good["delivered_at"]


def test_a_slow_name_server_holds_up_a_batch_no_longer_than_the_deadline(
    client: TestClient, receiver: HTTPServer, monkeypatch: pytest.MonkeyPatch
):
    receiver.expect_request("/told").respond_with_data()
    webhooks = [registered(client, url) for url in ("http://slow.example/told", receiver.url_for("/told"))]
    for webhook in webhooks:
        settled(client, webhook["url"])
    look_up, answers = socket.getaddrinfo, threading.Event()

    def slowly(host: str, *more: Any, **named: Any) -> Any:
        if host == "slow.example":
            answers.wait(30)
            raise socket.gaierror
        return look_up(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    courier = courier_of(wired(client), deadline=0.5)
    began = time.monotonic()
    assert courier.sweep()
    assert time.monotonic() - began < 10
    answers.set()
    slow, good = (log(client, webhook["id"])[0] for webhook in webhooks)
    assert (slow["last_error"], slow["tries"]) == ("timeout", 1)
    assert good["delivered_at"]


def test_a_fault_that_nobody_foresaw_is_a_failed_try_and_the_others_are_recorded(
    client: TestClient, receiver: HTTPServer, monkeypatch: pytest.MonkeyPatch
):
    receiver.expect_request("/told").respond_with_data()
    webhooks = [registered(client, url) for url in (receiver.url_for("/odd"), receiver.url_for("/told"))]
    for webhook in webhooks:
        settled(client, webhook["url"])
    courier = courier_of(wired(client))
    post = courier._post

    async def failing(http: Any, message: Message) -> int:
        if message.url.endswith("/odd"):
            raise RuntimeError("nobody foresaw this")
        return await post(http, message)

    monkeypatch.setattr(courier, "_post", failing)
    assert courier.sweep()
    odd, good = (log(client, webhook["id"])[0] for webhook in webhooks)
    assert (odd["last_error"], odd["tries"]) == ("unreachable", 1)
    assert good["delivered_at"]


@pytest.mark.parametrize("error", [httpx.InvalidURL("odd"), ValueError("odd"), httpx.LocalProtocolError("odd")])
def test_every_way_to_fail_is_an_answer(client: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception):
    courier = courier_of(wired(client))

    async def failing(_http: Any, _message: Message) -> int:
        raise error

    monkeypatch.setattr(courier, "_post", failing)
    message = Message("msg_1", "whk_1", "https://example.com/", [], "{}")
    assert asyncio.run(courier._deliver(httpx.AsyncHTTPTransport(), message)) == Answer(None, "unreachable")


def test_no_connection_is_used_for_a_second_delivery(
    client: TestClient, redirecting: str, monkeypatch: pytest.MonkeyPatch
):
    async def resolve(host: str, _port: int, **_: bool) -> str:
        await asyncio.sleep(0.5 if host.startswith("late") else 0)
        return "127.0.0.1"

    monkeypatch.setattr("app.webhooks.courier.resolved", resolve)
    urls = [redirecting.replace("127.0.0.1", name) for name in ("soon.example", "late.example")]
    messages = [Message(f"msg_{url}", "whk_1", url, ["whsec_" + "A" * 44], "{}") for url in urls]
    answers = asyncio.run(courier_of(wired(client))._send(messages))
    assert [answer.status for answer in answers] == [302, 302]
    assert len(set(Redirecting.ports)) == 2


def owed(client: TestClient, webhook: str, count: int) -> None:
    """As many deliveries to an endpoint, all due and later ones last."""
    deletion = client.get("/deletions").json()["items"][0]["id"]
    began = clock.now() - timedelta(hours=1)
    with wired(client).database.write() as session:
        for number in range(count):
            session.add(
                WebhookDelivery(
                    id=clock.new_id("msg_"), webhook_id=webhook, deletion_id=deletion, told_status="completed",
                    happened_at=began, tries=0, next_at=began + timedelta(seconds=number), created_at=began,
                )
            )  # fmt: skip


def test_no_endpoint_and_no_tenant_takes_all_the_room_of_a_batch(client: TestClient):
    services = wired(client)
    other = replace(LOCAL, tenant="other")
    busy = [registered(client, f"https://busy-{number}.example/")["id"] for number in range(40)]
    submitted(client, "https://busy-0.example/")
    for webhook in busy:
        owed(client, webhook, PER_ENDPOINT + 2)
    quiet = services.endpoints.register(other, "https://quiet.example/").id
    owed(client, quiet, PER_ENDPOINT + 2)
    messages = Outbox(services.database, services.sealer).due(clock.now() + timedelta(hours=1), AT_ONCE)
    told = Counter(message.webhook_id for message in messages)
    assert len(messages) == AT_ONCE
    assert told[quiet] == PER_ENDPOINT
    assert max(told.values()) <= PER_ENDPOINT


def test_what_settles_while_a_batch_is_under_way_waits_for_that_batch_alone(client: TestClient, receiver: HTTPServer):
    receiver.expect_request("/told").respond_with_data()
    webhook = registered(client, receiver.url_for("/told"))
    submitted(client, webhook["url"])
    owed(client, webhook["id"], PER_ENDPOINT + 2)
    courier = courier_of(wired(client))
    assert courier.sweep()
    assert len(receiver.log) == PER_ENDPOINT
    assert courier.pause(3600) < 1, "the rest is due"
    with wired(client).database.write() as session:  # the duty ran out meanwhile, and another process took it
        session.execute(update(Duty).values(owner="another", expires_at=clock.now() + timedelta(minutes=1)))
    assert not courier.sweep()
    assert len(receiver.log) == PER_ENDPOINT


def test_one_address_that_is_registered_twice_at_once_is_one_webhook(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    endpoints = wired(client).endpoints
    fresh_key, both = endpoints._fresh_key, threading.Barrier(2)

    def waiting(*arguments: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            both.wait(1)  # PostgreSQL lets both look before either has written; SQLite lets one in at a time
        return fresh_key(*arguments)

    monkeypatch.setattr(endpoints, "_fresh_key", waiting)
    with ThreadPoolExecutor() as threads:
        tries = [threads.submit(endpoints.register, LOCAL, "https://example.com/told") for _ in range(2)]
        made = [one.result() for one in tries]
    (listed,) = client.get("/webhooks").json()["items"]
    assert {endpoint.id for endpoint in made} == {listed["id"]}
    assert len({endpoint.secret for endpoint in made}) == 2
