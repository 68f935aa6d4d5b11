"""The courier: a thread of every API process that tells endpoints what is due; the duty row lets one at a time."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from uuid import uuid4

import httpx
import structlog
from standardwebhooks import Webhook

from app import clock
from app.database import Database
from app.duties import take
from app.errors import CallbackNotAllowed
from app.settings import Settings
from app.webhooks.addresses import PORTS, checked, resolved
from app.webhooks.outbox import Answer, Message, Outbox

DUTY = "webhooks"
AT_ONCE = 32
DEADLINE_SECONDS = 10.0  # for a whole delivery, however slowly the endpoint answers
USER_AGENT = "recover-to-forget"
_log = structlog.get_logger(__name__)


class Courier:
    """Gathers, sends and records, unless another process does."""

    def __init__(
        self, database: Database, outbox: Outbox, settings: Settings, *, deadline: float = DEADLINE_SECONDS
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._seconds = settings.sweep_seconds
        self._allow_private = settings.webhook_allow_private
        self._deadline = deadline
        self._owner = uuid4().hex

    def sweep(self) -> bool:
        """One batch; whether this process had the duty.

        The duty is renewed, and what has settled is gathered, for each: where much is due, `pause` is next to nothing.
        """
        now = clock.now()
        if not take(self._database, DUTY, self._owner, now, max(self._seconds, self._deadline) * 2):
            return False
        self._outbox.gather(now)
        if messages := self._outbox.due(now, AT_ONCE):
            for message, answer in zip(messages, asyncio.run(self._send(messages)), strict=True):
                self._outbox.record(message, answer, clock.now())
        self._outbox.forget_older(now)
        return True

    def pause(self, usual: float) -> float:
        """Seconds until the next round: the usual time, or less where a delivery is due before."""
        following: datetime | None = self._outbox.next_due()
        if following is None:
            return usual
        return min(max((following - clock.now()).total_seconds(), 0.2), usual)

    async def _send(self, messages: Sequence[Message]) -> list[Answer]:
        """All of them at once; a slow endpoint holds up no other for longer than the deadline."""
        # The transport alone: it knows no proxy of the environment, reads no redirect and keeps no cookie, so that the
        # connection goes where it was judged to go, and nothing of one endpoint's answer reaches another.
        async with httpx.AsyncHTTPTransport(verify=self._trust, trust_env=False) as http:
            tries = (self._deliver(http, message) for message in messages)
            return [_answer(one) for one in await asyncio.gather(*tries, return_exceptions=True)]

    async def _deliver(self, http: httpx.AsyncBaseTransport, message: Message) -> Answer:
        """One try; every way in which it can fail is an answer."""
        try:
            async with asyncio.timeout(self._deadline):
                status = await self._post(http, message)
        except CallbackNotAllowed:
            return Answer(None, "not_allowed")
        except TimeoutError:
            return Answer(None, "timeout")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):  # no address, connection, certificate or HTTP
            return Answer(None, "unreachable")
        if 300 <= status < 400:
            return Answer(status, "redirect")
        return Answer(status, None if status < 300 else "refused")

    async def _post(self, http: httpx.AsyncBaseTransport, message: Message) -> int:
        """Sign and send; the body of the answer is of no interest and is not read."""
        parts = checked(message.url, allow_private=self._allow_private)
        host = str(parts.hostname)
        port = parts.port or PORTS[parts.scheme]
        address = await resolved(host, port, allow_private=self._allow_private)
        now = clock.now()
        headers = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                Webhook(secret).sign(message.id, now, message.body) for secret in message.secrets
            ),
        }
        # To the address, in the name of the host: certificates are checked against the name.
        url = httpx.URL(message.url).copy_with(host=address)
        content, extensions = message.body.encode(), {"sni_hostname": host}
        request = httpx.Request("POST", url, content=content, headers=headers, extensions=extensions)
        response = await http.handle_async_request(request)
        # Unread, and so its connection ends: two names may share an address, and the certificate was one name's.
        await response.aclose()
        return response.status_code

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return httpx.create_ssl_context(trust_env=False)


def _answer(found: Answer | BaseException) -> Answer:
    """What came of a try; a fault that nobody foresaw is a failed try too, and keeps no other from being recorded."""
    if isinstance(found, Answer):
        return found
    _log.error("a delivery failed", exc_info=found)
    return Answer(None, "unreachable")
