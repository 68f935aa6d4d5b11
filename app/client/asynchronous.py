"""The client for asyncio; `app.client.synchronous`, with `await`."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx
import httpx_sse
import tenacity

from app.client import calls
from app.client.calls import Call, answered, by_proxy, unreachable
from app.client.downloads import Partial
from app.client.errors import ClientError, error_of
from app.client.following import POLL_SECONDS, SILENCE, NoStream, Position, opened
from app.client.patience import Patience, policy
from app.client.records import Deletion, Delivery, Download, Model, NewWebhook, Readiness, Receipt, Webhook
from app.client.requests import DeletionRequest
from app.report import Report

T = TypeVar("T")


class AsyncClient:
    """A caller of one service. What may safely be sent twice is sent again while the service is away."""

    def __init__(
        self,
        server: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        patience: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """
        Args:
            key: the API key, sent as a bearer token.
            timeout: seconds for one exchange.
            patience: seconds for which a call is tried again while the service does not answer; 0 for one try.
        """
        self.server = server
        self._patience = patience
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.AsyncClient(
            base_url=server, headers=headers, timeout=timeout, transport=transport, trust_env=by_proxy(server)
        )

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def submit(self, request: DeletionRequest, *, idempotency_key: str | None = None) -> Receipt:
        """Ask a model to forget.

        Args:
            idempotency_key: made if absent. Give one of your own to be able to send the same request again after your
                own process was restarted.
        """
        return await self._send(calls.submit(request, idempotency_key))

    async def get(self, deletion_id: str) -> Deletion:
        """How a deletion stands."""
        return await self._send(calls.get(deletion_id))

    async def list(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        reference: str | None = None,
        page_size: int = 100,
    ) -> AsyncGenerator[Deletion]:
        """Every deletion, newest first; pages are fetched as they are needed."""
        wanted = {"status": status, "model": model, "reference": reference, "limit": page_size}
        cursor: str | None = None
        while True:
            page = await self._send(calls.page(wanted, cursor))
            for item in page.items:
                yield item
            if (cursor := page.next) is None:
                return

    async def watch(
        self, deletion_id: str, *, poll: float = POLL_SECONDS, waiting: Callable[[], None] | None = None
    ) -> AsyncGenerator[Deletion]:
        """The deletion now and after each change, until it has finished or awaits a review.

        It comes as server-sent events, taken up again when the connection breaks. Where those do not get through it
        is asked for every `poll` seconds, or as the service says.

        Args:
            waiting: called whenever the service stops answering, once until it answers again.
        """
        position, patience = Position(), Patience(self._patience, waiting)
        while True:
            try:
                look = self._events if position.live else self._asked
                async with aclosing(look(deletion_id, position)) as found:
                    async for now in found:
                        patience.heard()
                        yield now
                        if now.settled:
                            return
                await asyncio.sleep(position.pause(poll))
            except NoStream:
                position.live = False
            except ClientError as error:
                await asyncio.sleep(patience.next_pause(error))

    async def cancel(self, deletion_id: str) -> Deletion:
        """Stop a deletion; a running one ends at its worker's next check."""
        return await self._send(calls.cancel(deletion_id))

    async def retry(self, deletion_id: str) -> Deletion:
        """Run a failed or canceled deletion again."""
        return await self._send(calls.decide(deletion_id, "retry"))

    async def approve(self, deletion_id: str) -> Deletion:
        """Publish an adapter that needs review."""
        return await self._send(calls.decide(deletion_id, "approve"))

    async def reject(self, deletion_id: str) -> Deletion:
        """Refuse an adapter that needs review."""
        return await self._send(calls.decide(deletion_id, "reject"))

    async def report(self, deletion_id: str) -> Report:
        """The evaluation."""
        return await self._send(calls.report(deletion_id))

    async def download(self, deletion_id: str, path: Path) -> Download:
        """Download the adapter's zip to `path`; what an earlier try has left there is continued, and all is checked."""
        partial, patience = Partial(path), Patience(self._patience)
        while not partial.whole:
            before = partial.here
            try:
                await self._continue(deletion_id, partial)
            except ClientError as error:
                if partial.here > before:
                    patience.heard()
                await asyncio.sleep(patience.next_pause(error))
        return partial.finish()

    async def certificate(self, deletion_id: str) -> bytes:
        """The signed certificate of a completed deletion, byte for byte, as `r2f verify` checks it."""
        return await self._send(calls.certificate(deletion_id))

    async def public_keys(self) -> bytes:
        """The keys that certificates are signed with, as JWKS: fetch them once, and keep them."""
        return await self._send(calls.public_keys())

    async def models(self) -> Sequence[Model]:
        """The models that are served."""
        return await self._send(calls.models())

    async def webhooks(self) -> Sequence[Webhook]:
        """The webhooks of the tenant, oldest first."""
        return await self._send(calls.webhooks())

    async def add_webhook(self, url: str) -> NewWebhook:
        """Register a webhook; its secret is shown this once. A registered one gets a new secret at once."""
        return await self._send(calls.add_webhook(url))

    async def rotate_webhook(self, webhook_id: str) -> NewWebhook:
        """Give a webhook a new secret; for 24 hours its calls are signed with the one before, too."""
        return await self._send(calls.rotate_webhook(webhook_id))

    async def remove_webhook(self, webhook_id: str) -> Webhook:
        """Tell a webhook nothing more; the log of its deliveries stays for 30 days."""
        return await self._send(calls.remove_webhook(webhook_id))

    async def deliveries(self, webhook_id: str, *, page_size: int = 100) -> AsyncGenerator[Delivery]:
        """Everything that a webhook was told, newest first; pages are fetched as they are needed."""
        cursor: str | None = None
        while True:
            page = await self._send(calls.deliveries(webhook_id, {"limit": page_size}, cursor))
            for item in page.items:
                yield item
            if (cursor := page.next) is None:
                return

    async def readiness(self) -> Readiness:
        """Whether the service can work, and its workers; asked once."""
        return await self._send(calls.readiness())

    async def _send(self, call: Call[T]) -> T:
        """One call, tried again where that is safe; raises ClientError."""
        async for attempt in tenacity.AsyncRetrying(**policy(self._patience, repeatable=call.repeatable)):
            with attempt, self._transport_errors():
                response = await self._http.request(
                    call.method, call.path, json=call.json, params=call.params, headers=call.headers
                )
                return answered(call, response)
        raise AssertionError("tenacity ends with an answer or an error")

    async def _continue(self, deletion_id: str, partial: Partial) -> None:
        """Fetch what is missing of an adapter, as far as the connection carries."""
        path = calls.adapter_path(deletion_id)
        with self._transport_errors():
            async with self._http.stream("GET", path, headers=partial.headers()) as response:
                if not response.is_success:
                    await response.aread()
                    raise error_of(response)
                if (file := partial.open(response)) is not None:
                    with file:
                        async for block in response.aiter_bytes():
                            file.write(block)

    async def _events(self, deletion_id: str, position: Position) -> AsyncGenerator[Deletion]:
        """The events that follow the last one seen; raises NoStream where there is no such stream."""
        path, headers = calls.events_path(deletion_id), position.headers()
        with self._transport_errors():
            async with httpx_sse.aconnect_sse(self._http, "GET", path, headers=headers, timeout=SILENCE) as source:
                if not source.response.is_success:
                    await source.response.aread()
                if opened(source.response):
                    async for event in source.aiter_sse():
                        if (now := position.read(event)) is not None:
                            yield now
                    return
        async for now in self._asked(deletion_id, position):
            yield now

    async def _asked(self, deletion_id: str, position: Position) -> AsyncGenerator[Deletion]:
        """How it stands, once."""
        now, position.asked_pause = await self._send(calls.poll(deletion_id))
        yield now

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        """Turn a broken exchange into Unreachable."""
        try:
            yield
        except httpx.TransportError as error:
            raise unreachable(self.server, error) from error
