"""Webhooks: signed, thin, told until heard, and led nowhere that they must not go."""

import asyncio
import ipaddress
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
import pytest
import structlog.testing
from fastapi.testclient import TestClient
from pytest_httpserver import HTTPServer
from sqlalchemy import select, update
from standardwebhooks import Webhook, WebhookVerificationError
from werkzeug import Request, Response

from app import clock
from app.access import LOCAL
from app.errors import CallbackNotAllowed
from app.models import Duty, WebhookDelivery
from app.models import Webhook as Endpoint
from app.report import VerdictKind
from app.services import Services
from app.settings import Settings
from app.webhooks.addresses import checked, is_public, resolved
from app.webhooks.courier import AT_ONCE, Courier
from app.webhooks.outbox import PER_ENDPOINT, WAITS, Answer, Message, Outbox
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


def test_an_endpoint_is_told_once_signed_and_without_content(client: TestClient, receiver: HTTPServer):
    receiver.expect_request("/told").respond_with_data(status=204)
    webhook = registered(client, receiver.url_for("/told"))
    deletion = settled(client, webhook["url"])
    courier = courier_of(wired(client))
    assert courier.sweep()
    assert courier.sweep()
    ((request, _),) = receiver.log
    told = Webhook(webhook["secret"]).verify(request.get_data(), dict(request.headers))
    assert told["type"] == "deletion.completed"
    assert told["data"] == {"id": deletion, "status": "completed"}
    (delivery,) = log(client, webhook["id"])
    assert delivery["id"] == request.headers["webhook-id"]
    assert delivery["delivered_at"]
    assert delivery["next_at"] is None
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 43).verify(request.get_data(), dict(request.headers))


def test_a_running_deletion_tells_nothing_and_a_retried_one_tells_again(client: TestClient, receiver: HTTPServer):
    receiver.expect_request("/told").respond_with_data()
    webhook = registered(client, receiver.url_for("/told"))
    deletion = submitted(client, webhook["url"])
    courier = courier_of(wired(client))
    courier.sweep()
    assert receiver.log == []
    for _ in range(2):
        client.delete(f"/deletions/{deletion}")
        courier.sweep()
        client.post(f"/deletions/{deletion}/retry")
        courier.sweep()
    assert [json.loads(request.get_data())["data"]["status"] for request, _ in receiver.log] == ["canceled"] * 2


def test_a_longer_due_date_tells_nothing_again(client: TestClient, receiver: HTTPServer):
    receiver.expect_request("/told").respond_with_data()
    webhook = registered(client, receiver.url_for("/told"))
    deletion = submitted(client, webhook["url"])
    worker_on(wired(client), FakePipeline(VerdictKind.MISSED)).runner.work()
    courier = courier_of(wired(client))
    courier.sweep()
    extended = client.post(f"/deletions/{deletion}/extend", json={"months": 1, "reason": "complexity"})
    assert extended.status_code == 200
    courier.sweep()
    assert len(receiver.log) == 1
    client.post(f"/deletions/{deletion}/approve")
    courier.sweep()
    assert [json.loads(request.get_data())["type"] for request, _ in receiver.log] == [
        "deletion.needs_review",
        "deletion.completed",
    ]


def test_a_callback_that_nobody_registered_is_refused_and_nothing_is_written(client: TestClient):
    answer = client.post("/deletions", json={**FRANCE, "callback_url": "https://example.com/told"})
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/unknown-callback"
    assert client.get("/deletions").json()["items"] == []


@pytest.mark.parametrize(("status", "error"), [(500, "refused"), (302, "redirect"), (404, "refused")])
def test_what_was_not_taken_is_tried_again_with_the_same_id_and_given_up_after_three_days(
    client: TestClient, receiver: HTTPServer, status: int, error: str
):
    receiver.expect_request("/told").respond_with_data(status=status, headers={"Location": "/elsewhere"})
    webhook = registered(client, receiver.url_for("/told"))
    settled(client, webhook["url"])
    courier = courier_of(wired(client))
    for wait in (*WAITS, 0):
        courier.sweep()
        (delivery,) = log(client, webhook["id"])
        assert (delivery["last_status"], delivery["last_error"]) == (status, error)
        later(client, wait)
    assert delivery["tries"] == len(WAITS) + 1
    assert delivery["next_at"] is None
    assert delivery["delivered_at"] is None
    assert len({request.headers["webhook-id"] for request, _ in receiver.log}) == 1
    assert {request.path for request, _ in receiver.log} == {"/told"}, "a redirect is not followed"
    assert 2.5 <= sum(WAITS) / 86400 <= 3.5


def test_an_endpoint_that_comes_back_is_told(client: TestClient, receiver: HTTPServer):
    receiver.expect_ordered_request("/told").respond_with_data(status=503)
    receiver.expect_ordered_request("/told").respond_with_data(status=200)
    webhook = registered(client, receiver.url_for("/told"))
    settled(client, webhook["url"])
    courier = courier_of(wired(client))
    courier.sweep()
    courier.sweep()
    assert len(receiver.log) == 1, "it is not tried again before its time"
    later(client, WAITS[0])
    courier.sweep()
    (delivery,) = log(client, webhook["id"])
    assert (delivery["tries"], delivery["last_status"], delivery["last_error"]) == (2, 200, None)


def test_nobody_listens(client: TestClient):
    webhook = registered(client, "http://127.0.0.1:9/told")
    settled(client, webhook["url"])
    courier_of(wired(client)).sweep()
    (delivery,) = log(client, webhook["id"])
    assert delivery["last_error"] == "unreachable"
    assert delivery["next_at"]


def test_a_slow_endpoint_is_left_and_holds_up_no_other(client: TestClient, receiver: HTTPServer):
    released = threading.Event()

    def slow(_request: Request) -> Response:
        released.wait(30)
        return Response()

    with HTTPServer(threaded=True) as other:
        other.expect_request("/slow").respond_with_handler(slow)
        receiver.expect_request("/quick").respond_with_data()
        webhooks = [registered(client, url) for url in (other.url_for("/slow"), receiver.url_for("/quick"))]
        for webhook in webhooks:
            settled(client, webhook["url"])
        courier = courier_of(wired(client), deadline=0.5)
        courier.sweep()
        while not log(client, webhooks[1]["id"])[0]["delivered_at"]:  # a busy machine may need more than one try
            later(client, WAITS[1])
            courier.sweep()
        released.set()
    assert log(client, webhooks[0]["id"])[0]["last_error"] == "timeout"


def test_an_endpoint_that_is_gone_is_told_nothing_more(client: TestClient, receiver: HTTPServer):
    receiver.expect_request("/told").respond_with_data(status=410)
    webhook = registered(client, receiver.url_for("/told"))
    settled(client, webhook["url"])
    settled(client, webhook["url"])
    courier = courier_of(wired(client))
    courier.sweep()
    courier.sweep()
    (listed,) = client.get("/webhooks").json()["items"]
    assert listed["disabled_why"] == "gone"
    assert client.post("/deletions", json={**FRANCE, "callback_url": webhook["url"]}).status_code == 422
    again = registered(client, webhook["url"])
    assert again["id"] == webhook["id"]
    assert again["secret"] != webhook["secret"]
    assert again["disabled_at"] is None


def test_an_operator_disables_an_endpoint_and_its_log_stays(client: TestClient, receiver: HTTPServer):
    receiver.expect_request("/told").respond_with_data()
    webhook = registered(client, receiver.url_for("/told"))
    for _ in range(3):
        settled(client, webhook["url"])
    courier = courier_of(wired(client))
    courier.sweep()
    assert client.delete(f"/webhooks/{webhook['id']}").json()["disabled_why"] == "operator"
    page = client.get(f"/webhooks/{webhook['id']}/deliveries", params={"limit": 2})
    rest = client.get(page.headers["link"].partition(">")[0].lstrip("<")).json()
    assert [len(items["items"]) for items in (page.json(), rest)] == [2, 1]
    assert rest["next"] is None
    assert client.get(f"/webhooks/{webhook['id']}/deliveries", params={"cursor": "x"}).status_code == 400
    assert client.get("/webhooks/whk_unknown/deliveries").status_code == 404


def test_while_a_secret_takes_over_from_another_both_sign(client: TestClient, receiver: HTTPServer):
    receiver.expect_request("/told").respond_with_data()
    webhook = registered(client, receiver.url_for("/told"))
    rotated = client.post(f"/webhooks/{webhook['id']}/rotate").json()
    assert rotated["secret"] != webhook["secret"]
    assert clock.now() + timedelta(hours=23) < datetime.fromisoformat(rotated["retiring_until"])
    settled(client, webhook["url"])
    courier_of(wired(client)).sweep()
    ((request, _),) = receiver.log
    for secret in (webhook["secret"], rotated["secret"]):
        Webhook(secret).verify(request.get_data(), dict(request.headers))
    assert len(request.headers["webhook-signature"].split(" ")) == 2


def test_after_its_time_a_secret_signs_nothing_and_is_gone(client: TestClient, receiver: HTTPServer):
    receiver.expect_request("/told").respond_with_data()
    webhook = registered(client, receiver.url_for("/told"))
    secret = client.post(f"/webhooks/{webhook['id']}/rotate").json()["secret"]
    with wired(client).database.write() as session:
        session.execute(update(Endpoint).values(retiring_until=clock.now() - timedelta(seconds=1)))
    settled(client, webhook["url"])
    courier_of(wired(client)).sweep()
    ((request, _),) = receiver.log
    Webhook(secret).verify(request.get_data(), dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook["secret"]).verify(request.get_data(), dict(request.headers))
    assert client.get("/webhooks").json()["items"][0]["retiring_until"] is None
    with wired(client).database.read() as session:
        assert session.scalars(select(Endpoint.sealed_retiring)).all() == [None]


def test_a_secret_that_leaked_signs_nothing_once_the_address_is_registered_again(
    client: TestClient, receiver: HTTPServer
):
    receiver.expect_request("/told").respond_with_data()
    webhook = registered(client, receiver.url_for("/told"))
    client.post(f"/webhooks/{webhook['id']}/rotate")
    fresh = registered(client, webhook["url"])
    settled(client, webhook["url"])
    courier_of(wired(client)).sweep()
    ((request, _),) = receiver.log
    Webhook(fresh["secret"]).verify(request.get_data(), dict(request.headers))
    assert len(request.headers["webhook-signature"].split(" ")) == 1


def test_only_a_webhook_that_exists_is_rotated(client: TestClient):
    answer = client.post("/webhooks/whk_unknown/rotate")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/webhook-not-found")


def test_an_endpoint_that_cannot_be_opened_holds_up_no_other(client: TestClient, receiver: HTTPServer):
    for path in ("/broken", "/told"):
        receiver.expect_request(path).respond_with_data()
    broken, whole = (registered(client, receiver.url_for(path)) for path in ("/broken", "/told"))
    for webhook in (broken, whole):
        settled(client, webhook["url"])
    with wired(client).database.write() as session:
        session.execute(update(Endpoint).where(Endpoint.id == broken["id"]).values(sealed_url=b"\x01" + bytes(40)))
    courier_of(wired(client)).sweep()
    assert [request.path for request, _ in receiver.log] == ["/told"]
    with wired(client).database.read() as session:
        row = session.scalars(select(WebhookDelivery).where(WebhookDelivery.webhook_id == broken["id"])).one()
    assert (row.tries, row.last_error) == (1, "unreadable")
    assert row.next_at > clock.now()


def test_one_courier_at_a_time(client: TestClient):
    services = wired(client)
    mine, other = (
        courier_of(services),
        Courier(services.database, Outbox(services.database, services.sealer), services.settings),
    )
    assert mine.sweep()
    assert not other.sweep()


def test_the_log_is_forgotten_after_a_while(client: TestClient, receiver: HTTPServer):
    receiver.expect_request("/told").respond_with_data()
    webhook = registered(client, receiver.url_for("/told"))
    settled(client, webhook["url"])
    courier = courier_of(wired(client))
    courier.sweep()
    with wired(client).database.write() as session:
        session.execute(update(WebhookDelivery).values(created_at=clock.now() - timedelta(days=31)))
    courier.sweep()
    assert log(client, webhook["id"]) == []


def test_neither_address_nor_secret_lies_in_clear(client: TestClient, receiver: HTTPServer):
    receiver.expect_request("/Zebulon").respond_with_data(status=500)
    webhook = registered(client, receiver.url_for("/Zebulon"))
    rotated = client.post(f"/webhooks/{webhook['id']}/rotate").json()
    with structlog.testing.capture_logs() as logged:
        settled(client, webhook["url"])
        courier_of(wired(client)).sweep()
    services = wired(client)
    with services.database.engine.connect() as connection:
        tables = ("webhooks", "callbacks", "webhook_deliveries")
        rows = [str(row) for table in tables for row in connection.exec_driver_sql(f"SELECT * FROM {table}")]
    for secret in ("Zebulon", webhook["secret"], rotated["secret"]):
        assert secret not in "".join([*rows, str(logged)])


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "192.168.0.1",
    "172.16.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "::1",
    "fe80::1",
    "fc00::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fec0::1",
    "64:ff9b:1::5db8:d822",
    "::127.0.0.1",
    "::93.184.216.34",
    "4000::1",
    "2001:db8::1",
    "2001:0:5db8:d822::80ff:fffe",
    "::",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_told_from_public_ones(address: str):
    assert not is_public(ipaddress.ip_address(address))
    bare = f"[{address}]" if ":" in address else address
    with pytest.raises(CallbackNotAllowed):
        checked(f"https://{bare}/told", allow_private=False)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822", "2002:5db8:d822::"]
)
def test_public_addresses_are_allowed(address: str):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "https://user:pass@example.com/",  # pragma: allowlist secret
        "https:///x",
        "https://example.com:0/",
        "https://[::1/",
    ],
)
def test_addresses_that_make_no_sense_are_refused(url: str):
    with pytest.raises(CallbackNotAllowed):
        checked(url, allow_private=False)


def test_a_name_that_resolves_to_this_machine_is_refused_when_it_is_called():
    with pytest.raises(CallbackNotAllowed):
        asyncio.run(resolved("localhost", 443, allow_private=False))


def test_a_private_address_behind_a_name_is_never_called(client: TestClient, receiver: HTTPServer):
    webhook = registered(client, f"http://localhost:{receiver.port}/told")
    settled(client, webhook["url"])
    services = wired(client)
    courier = courier_of(services)
    courier._allow_private = False
    courier.sweep()
    assert receiver.log == []
    assert log(client, webhook["id"])[0]["last_error"] == "not_allowed"


def test_the_connection_goes_to_the_address_that_was_judged(
    client: TestClient, receiver: HTTPServer, monkeypatch: pytest.MonkeyPatch
):
    receiver.expect_request("/told").respond_with_data()
    answers = iter([receiver.host])

    async def resolve(_host: str, _port: int, **_: bool) -> str:
        return next(answers)  # a second look would fail

    monkeypatch.setattr("app.webhooks.courier.resolved", resolve)
    webhook = registered(client, f"http://rebinding.example:{receiver.port}/told")
    settled(client, webhook["url"])
    courier_of(wired(client)).sweep()
    ((request, _),) = receiver.log
    assert request.headers["host"] == f"rebinding.example:{receiver.port}"


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
