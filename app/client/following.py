"""Following a deletion by server-sent events: where in the stream a caller is, and what an answer means."""

import httpx
import httpx_sse
from pydantic import ValidationError

from app.client.errors import NotFound, NotUnderstood, error_of
from app.client.records import Deletion

POLL_SECONDS = 1.0
SILENCE = httpx.Timeout(30.0, read=60.0)  # seconds; the service says something every 15 s, if only that it lives
NAME = "deletion"


class NoStream(Exception):
    """There are no events to be had; asking again and again still works."""


class Position:
    """Where a caller is in the stream of one deletion."""

    def __init__(self) -> None:
        self.live = True  # events are to be had
        self.last_id = ""
        self.reconnect: float | None = None  # seconds, as the stream says
        self.asked_pause: float | None = None  # seconds, as an answer says

    def headers(self) -> dict[str, str]:
        """What asks for the events behind the last one."""
        return {"Last-Event-ID": self.last_id} if self.last_id else {}

    def read(self, event: httpx_sse.ServerSentEvent) -> Deletion | None:
        """The deletion in an event; None for an event of another kind."""
        if event.retry is not None:
            self.reconnect = event.retry / 1000
        if event.event != NAME:
            return None
        self.last_id = event.id or self.last_id
        try:
            return Deletion.model_validate_json(event.data)
        except ValidationError as error:
            raise NotUnderstood("An event holds something that is no deletion of this version.") from error

    def pause(self, poll: float) -> float:
        """Seconds until the next look, after a stream or an answer has ended."""
        asked = self.reconnect if self.live else self.asked_pause
        return poll if asked is None else asked


def opened(response: httpx.Response) -> bool:
    """Whether a stream of events begins; False when nothing will follow the last one seen.

    Raises:
        NoStream: this service or a proxy has no such stream.
        ClientError: what else the answer stands for.
    """
    if response.status_code == httpx.codes.NO_CONTENT:
        return False
    error = None if response.is_success else error_of(response)
    if isinstance(error, NotFound) and error.kind == "deletion-not-found":
        raise error
    media_type = response.headers.get("content-type", "").partition(";")[0].strip()
    if isinstance(error, NotFound | NotUnderstood) or (error is None and media_type != "text/event-stream"):
        raise NoStream
    if error is not None:
        raise error
    return True
