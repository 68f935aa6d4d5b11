"""The client for plain code."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


class Client:
    """A caller of one service. What may safely be sent twice is sent again while the service is away."""

    def __init__(
        self,
        server: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        patience: float = 10.0,
        transport: httpx.BaseTransport | None = None,
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
        self._http = httpx.Client(
            base_url=server, headers=headers, timeout=timeout, transport=transport, trust_env=by_proxy(server)
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def submit(self, request: DeletionRequest, *, idempotency_key: str | None = None) -> Receipt:
        """Ask a model to forget.

        Args:
            idempotency_key: made if absent. Give one of your own to be able to send the same request again after your
                own process was restarted.
        """
        return self._send(calls.submit(request, idempotency_key))

    def get(self, deletion_id: str) -> Deletion:
        """How a deletion stands."""
        return self._send(calls.get(deletion_id))

    def list(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        reference: str | None = None,
        page_size: int = 100,
    ) -> Iterator[Deletion]:
        """Every deletion, newest first; pages are fetched as they are needed."""
        wanted = {"status": status, "model": model, "reference": reference, "limit": page_size}
        cursor: str | None = None
        while True:
            page = self._send(calls.page(wanted, cursor))
            yield from page.items
            if (cursor := page.next) is None:
                return

    def watch(
        self, deletion_id: str, *, poll: float = POLL_SECONDS, waiting: Callable[[], None] | None = None
    ) -> Iterator[Deletion]:
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
                for now in look(deletion_id, position):
                    patience.heard()
                    yield now
                    if now.settled:
                        return
                time.sleep(position.pause(poll))
            except NoStream:
                position.live = False
            except ClientError as error:
                time.sleep(patience.next_pause(error))

    def cancel(self, deletion_id: str) -> Deletion:
        """Stop a deletion; a running one ends at its worker's next check."""
        return self._send(calls.cancel(deletion_id))

    def retry(self, deletion_id: str) -> Deletion:
        """Run a failed or canceled deletion again."""
        return self._send(calls.decide(deletion_id, "retry"))

    def approve(self, deletion_id: str) -> Deletion:
        """Publish an adapter that needs review."""
        return self._send(calls.decide(deletion_id, "approve"))

    def reject(self, deletion_id: str) -> Deletion:
        """Refuse an adapter that needs review."""
        return self._send(calls.decide(deletion_id, "reject"))

    def report(self, deletion_id: str) -> Report:
        """The evaluation."""
        return self._send(calls.report(deletion_id))

    def download(self, deletion_id: str, path: Path) -> Download:
        """Download the adapter's zip to `path`; what an earlier try has left there is continued, and all is checked."""
        partial, patience = Partial(path), Patience(self._patience)
        while not partial.whole:
            before = partial.here
            try:
                self._continue(deletion_id, partial)
            except ClientError as error:
                if partial.here > before:
                    patience.heard()
                time.sleep(patience.next_pause(error))
        return partial.finish()

    def certificate(self, deletion_id: str) -> bytes:
        """The signed certificate of a completed deletion, byte for byte, as `r2f verify` checks it."""
        return self._send(calls.certificate(deletion_id))

    def public_keys(self) -> bytes:
        """The keys that certificates are signed with, as JWKS: fetch them once, and keep them."""
        return self._send(calls.public_keys())

    def models(self) -> Sequence[Model]:
        """The models that are served."""
        return self._send(calls.models())

    def webhooks(self) -> Sequence[Webhook]:
        """The webhooks of the tenant, oldest first."""
        return self._send(calls.webhooks())

    def add_webhook(self, url: str) -> NewWebhook:
        """Register a webhook; its secret is shown this once. A registered one gets a new secret at once."""
        return self._send(calls.add_webhook(url))

    def rotate_webhook(self, webhook_id: str) -> NewWebhook:
        """Give a webhook a new secret; for 24 hours its calls are signed with the one before, too."""
        return self._send(calls.rotate_webhook(webhook_id))

    def remove_webhook(self, webhook_id: str) -> Webhook:
        """Tell a webhook nothing more; the log of its deliveries stays for 30 days."""
        return self._send(calls.remove_webhook(webhook_id))

    def deliveries(self, webhook_id: str, *, page_size: int = 100) -> Iterator[Delivery]:
        """Everything that a webhook was told, newest first; pages are fetched as they are needed."""
        cursor: str | None = None
        while True:
            page = self._send(calls.deliveries(webhook_id, {"limit": page_size}, cursor))
            yield from page.items
            if (cursor := page.next) is None:
                return

    def readiness(self) -> Readiness:
        """Whether the service can work, and its workers; asked once."""
        return self._send(calls.readiness())

    def _send(self, call: Call[T]) -> T:
        """One call, tried again where that is safe; raises ClientError."""
        for attempt in tenacity.Retrying(**policy(self._patience, repeatable=call.repeatable)):
            with attempt, self._transport_errors():
                response = self._http.request(
                    call.method, call.path, json=call.json, params=call.params, headers=call.headers
                )
                return answered(call, response)
        raise AssertionError("tenacity ends with an answer or an error")

    def _continue(self, deletion_id: str, partial: Partial) -> None:
        """Fetch what is missing of an adapter, as far as the connection carries."""
        path = calls.adapter_path(deletion_id)
        with self._transport_errors(), self._http.stream("GET", path, headers=partial.headers()) as response:
            if not response.is_success:
                response.read()
                raise error_of(response)
            if (file := partial.open(response)) is not None:
                with file:
                    for block in response.iter_bytes():
                        file.write(block)

    def _events(self, deletion_id: str, position: Position) -> Iterator[Deletion]:
        """The events that follow the last one seen; raises NoStream where there is no such stream."""
        path, headers = calls.events_path(deletion_id), position.headers()
        with (
            self._transport_errors(),
            httpx_sse.connect_sse(self._http, "GET", path, headers=headers, timeout=SILENCE) as source,
        ):
            if not source.response.is_success:
                source.response.read()
            if opened(source.response):
                for event in source.iter_sse():
                    if (now := position.read(event)) is not None:
                        yield now
                return
        yield from self._asked(deletion_id, position)

    def _asked(self, deletion_id: str, position: Position) -> Iterator[Deletion]:
        """How it stands, once."""
        now, position.asked_pause = self._send(calls.poll(deletion_id))
        yield now

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        """Turn a broken exchange into Unreachable."""
        try:
            yield
        except httpx.TransportError as error:
            raise unreachable(self.server, error) from error
