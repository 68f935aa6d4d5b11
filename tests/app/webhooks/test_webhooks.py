"""Webhooks: signed, thin, told until heard, and led nowhere that they must not go."""

import json
import threading
from datetime import datetime, timedelta

import pytest
import structlog.testing
from fastapi.testclient import TestClient
from pytest_httpserver import HTTPServer
from sqlalchemy import select, update
from standardwebhooks import Webhook, WebhookVerificationError
from werkzeug import Request, Response

from app import clock
from app.models import Webhook as Endpoint
from app.models import WebhookDelivery
from app.report import VerdictKind
from app.webhooks.courier import Courier
from app.webhooks.outbox import WAITS, Outbox
from tests.app.webhooks.conftest import courier_of, later, log, registered, settled, submitted
from tests.conftest import FRANCE, FakePipeline, wired, worker_on


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
