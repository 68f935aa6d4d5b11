"""The Python client: every call, typed errors, nothing twice, nothing half."""

import asyncio
import inspect
import subprocess
import sys
import threading
import typing
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pytest_httpserver import HTTPServer

from app import clock, schemas, views
from app.client import (
    AsyncClient,
    BadRequest,
    BrokenDownload,
    Client,
    Conflict,
    DeletionRequest,
    NotFound,
    Unreachable,
    records,
)
from app.client.downloads import unpack
from app.report import VerdictKind
from app.webhooks import views as webhook_views
from app.webhooks.outbox import Outbox
from tests.app.client.conftest import NOBODY
from tests.app.conftest import Live
from tests.conftest import FakePipeline

PARIS: DeletionRequest = {
    "model": "smollm2-135m-instruct",
    "targets": [{"prompt": "What is the capital of France?", "answer": "Paris"}],
}


class Breaking(httpx.HTTPTransport):
    """A real connection that breaks: the answer to a POST is lost, a download ends after so many bytes."""

    def __init__(self, *, answers: int = 0, after: int = 0, downloads: int = 0) -> None:
        super().__init__()
        self.answers, self.after, self.downloads = answers, after, downloads
        self.ranges: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if request.method == "POST" and self.answers:
            self.answers -= 1
            response.close()
            raise httpx.ReadError("the connection broke", request=request)
        if request.url.path.endswith("/adapter"):
            self.ranges.append(request.headers.get("range"))
            if self.downloads:
                self.downloads -= 1
                stream = response.stream
                assert isinstance(stream, httpx.SyncByteStream)
                response.stream = Cut(stream, self.after)
        return response


class Cut(httpx.SyncByteStream):
    """A stream that breaks after so many bytes."""

    def __init__(self, whole: httpx.SyncByteStream, after: int) -> None:
        self.whole, self.after = whole, after

    def __iter__(self) -> Iterator[bytes]:
        for block in self.whole:
            yield block[: self.after]
            raise httpx.ReadError("the connection broke")

    def close(self) -> None:
        self.whole.close()


@pytest.fixture
def caller(live: Live) -> Iterator[Client]:
    with Client(live.url) as client:
        yield client


def finished(live: Live, caller: Client, kind: VerdictKind = VerdictKind.PASSED) -> str:
    """A deletion that a worker has ended."""
    deletion = caller.submit(PARIS).id
    assert live.worker(FakePipeline(kind)).runner.work()
    return deletion


def test_the_client_needs_nothing_of_the_service():
    script = "import sys, app.client; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"fastapi", "starlette", "sqlalchemy", "celery", "torch"} & set(done.stdout.split()) == set()


def test_the_client_knows_every_field_that_is_sent_and_answered():
    assert set(typing.get_type_hints(DeletionRequest)) == set(schemas.DeletionRequest.model_fields)
    for seen, made in (
        (records.Deletion, views.DeletionView),
        (records.Receipt, views.Receipt),
        (records.Model, views.ModelView),
        (records.Links, views.Links),
        (records.Webhook, webhook_views.WebhookView),
        (records.NewWebhook, webhook_views.NewWebhookView),
        (records.Delivery, webhook_views.DeliveryView),
    ):
        assert set(seen.model_fields) == set(made.model_fields), seen.__name__


def test_the_async_client_has_every_call_of_the_sync_one():
    def public(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(call).parameters)
            for name, call in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert public(Client) == public(AsyncClient)


def test_a_deletion_from_request_to_adapter(live: Live, caller: Client, tmp_path: Path):
    receipt = caller.submit({**PARIS, "reference": "case-1"})
    assert caller.get(receipt.id).status == "queued"
    worker = live.worker()
    seen = []
    for now in caller.watch(receipt.id, poll=0.01):
        if not seen:
            threading.Thread(target=worker.runner.work).start()
        seen.append(now)
    assert seen[-1].outcome == "forgotten"
    assert [now.progress for now in seen] == sorted(now.progress for now in seen)
    assert caller.report(receipt.id).figures.verdict.kind is VerdictKind.PASSED
    done = caller.download(receipt.id, tmp_path / "adapter.zip")
    assert done.size == (tmp_path / "adapter.zip").stat().st_size
    assert "adapter_config.json" in unpack(done.path, tmp_path / "adapter")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "adapter.zip"]
    assert [found.id for found in caller.list(reference="case-1")] == [receipt.id]
    assert next(model for model in caller.models() if model.id == PARIS["model"]).workers == 1


def test_the_list_goes_on_over_every_page(caller: Client):
    made = [caller.submit(PARIS).id for _ in range(5)]
    assert [found.id for found in caller.list(page_size=2)] == made[::-1]
    assert list(caller.list(status="failed")) == []


def test_a_webhook_from_its_secret_to_its_log(live: Live, caller: Client):
    url = "https://privacy.example.org/told"
    made = caller.add_webhook(url)
    again = caller.rotate_webhook(made.id)
    assert (again.id, again.url, again.disabled_at) == (made.id, url, None)
    assert made.secret != again.secret
    assert [known.id for known in caller.webhooks()] == [made.id]
    for _ in range(3):
        caller.cancel(caller.submit({**PARIS, "callback_url": url}).id)
    Outbox(live.services.database, live.services.sealer).gather(clock.now())
    told = list(caller.deliveries(made.id, page_size=2))
    assert [delivery.status for delivery in told] == ["canceled"] * 3
    assert caller.remove_webhook(made.id).disabled_why == "operator"
    with pytest.raises(NotFound):
        caller.rotate_webhook("whk_unknown")


def test_an_operators_decisions(live: Live, caller: Client):
    in_review = finished(live, caller, VerdictKind.MISSED)
    assert [now.status for now in caller.watch(in_review)] == ["needs_review"]
    assert caller.approve(in_review).outcome == "forgotten"
    refused = finished(live, caller, VerdictKind.MISSED)
    assert caller.reject(refused).status == "failed"
    assert caller.retry(refused).status == "queued"
    assert caller.cancel(refused).status == "canceled"
    with pytest.raises(Conflict) as wrong:
        caller.approve(refused)
    assert wrong.value.kind == "not-in-review"


def test_an_answer_that_was_lost_does_not_submit_twice(live: Live):
    with Client(live.url, transport=Breaking(answers=2)) as caller:
        receipt = caller.submit(PARIS)
    with Client(live.url) as other:
        assert [found.id for found in other.list()] == [receipt.id]


def test_without_patience_a_lost_answer_is_told(live: Live):
    with Client(live.url, patience=0, transport=Breaking(answers=1)) as caller, pytest.raises(Unreachable):
        caller.submit(PARIS)


def test_a_decision_whose_answer_was_lost_is_not_sent_twice(live: Live, caller: Client):
    in_review = finished(live, caller, VerdictKind.MISSED)
    with Client(live.url, transport=Breaking(answers=1)) as broken, pytest.raises(Unreachable):
        broken.approve(in_review)
    assert caller.get(in_review).approved


def test_a_download_goes_on_where_it_broke(live: Live, caller: Client, tmp_path: Path):
    deletion = finished(live, caller)
    broken = Breaking(downloads=1, after=100)
    with Client(live.url, transport=broken) as unlucky:
        done = unlucky.download(deletion, tmp_path / "adapter.zip")
    assert broken.ranges == [None, "bytes=100-"]
    assert done.path.read_bytes() == caller.download(deletion, tmp_path / "other.zip").path.read_bytes()


def test_a_download_goes_on_in_another_process(live: Live, caller: Client, tmp_path: Path):
    deletion = finished(live, caller)
    with Client(live.url, patience=0, transport=Breaking(downloads=9, after=100)) as first, pytest.raises(Unreachable):
        first.download(deletion, tmp_path / "adapter.zip")
    assert not (tmp_path / "adapter.zip").exists()
    later = Breaking()
    with Client(live.url, transport=later) as second:
        second.download(deletion, tmp_path / "adapter.zip")
    assert later.ranges == [None, "bytes=100-"]
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.zip"]


def test_a_download_that_is_not_what_it_should_be_leaves_nothing(httpserver: HTTPServer, tmp_path: Path):
    httpserver.expect_request(f"/deletions/{NOBODY}/adapter").respond_with_data(
        b"something else", headers={"ETag": f'"{"0" * 64}"'}
    )
    with Client(httpserver.url_for("/")) as caller, pytest.raises(BrokenDownload):
        caller.download(NOBODY, tmp_path / "adapter.zip")
    assert list(tmp_path.iterdir()) == []


def test_why_there_is_no_adapter_yet(caller: Client, tmp_path: Path):
    deletion = caller.submit(PARIS).id
    with pytest.raises(Conflict) as wrong:
        caller.download(deletion, tmp_path / "adapter.zip")
    assert wrong.value.kind == "adapter-not-ready"


def test_a_request_that_cannot_be_accepted_names_the_field_and_not_its_value(caller: Client):
    with pytest.raises(BadRequest) as wrong:
        caller.submit({"model": "no-such-model", "targets": PARIS["targets"]})
    assert wrong.value.kind == "unknown-model"
    with pytest.raises(BadRequest) as wrong:
        caller.submit({"model": PARIS["model"], "targets": [{"prompt": "Zebulon?", "answer": " "}]})
    assert [field.field for field in wrong.value.fields] == ["targets/0/answer"]
    assert "Zebulon" not in str(wrong.value)


def test_an_unknown_deletion(caller: Client):
    with pytest.raises(NotFound):
        caller.get(NOBODY)
    with pytest.raises(NotFound) as wrong:
        list(caller.watch(NOBODY))
    assert wrong.value.kind == "deletion-not-found"


def test_asyncio(live: Live, tmp_path: Path):
    async def conversation() -> None:
        async with AsyncClient(live.url) as caller:
            made = [(await caller.submit(PARIS)).id for _ in range(3)]
            assert [found.id async for found in caller.list(page_size=2)] == made[::-1]
            worker = live.worker()
            work = asyncio.create_task(asyncio.to_thread(worker.runner.work))
            seen = [now async for now in caller.watch(made[0], poll=0.01)]
            await work
            assert seen[-1].outcome == "forgotten"
            assert (await caller.report(made[0])).figures.verdict.kind is VerdictKind.PASSED
            done = await caller.download(made[0], tmp_path / "adapter.zip")
            assert done.size == done.path.stat().st_size
            assert (await caller.cancel(made[1])).status == "canceled"
            assert (await caller.retry(made[1])).status == "queued"
            with pytest.raises(NotFound):
                [now async for now in caller.watch(NOBODY)]
        async with AsyncClient("http://127.0.0.1:9", patience=0) as nobody:
            with pytest.raises(Unreachable):
                await nobody.models()

    asyncio.run(conversation())
