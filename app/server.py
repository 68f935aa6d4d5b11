"""The web server of `r2f serve`: uvicorn, which ends what has no end of its own before it waits for connections."""

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from app.problem_views import ProblemView
from app.problems import MEDIA_TYPE
from app.supervisor import CommandFailed

# RFC 9457 has this type for what the status code alone says.
_UNREADABLE = ProblemView(
    type="about:blank", title="Bad Request", status=400, detail="This cannot be read as an HTTP request."
)
GRACE_SECONDS = 5  # for requests that are being answered when the server stops


class Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """HTTP as uvicorn speaks it, but with a problem for bytes that never become a request."""

    def send_400_response(self, msg: str) -> None:
        """Answer and hang up; no more can be read of this connection."""
        body = _UNREADABLE.model_dump_json(exclude_none=True).encode()
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        self.transport.close()


class Server(uvicorn.Server):
    """Serves the application, and closes its event streams as soon as it is asked to stop."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(uvicorn.Config(app, http=Protocol, log_config=None, timeout_graceful_shutdown=GRACE_SECONDS))
        self._app = app
        self.on_exit: Callable[[], None] = lambda: None  # called as soon as a signal asks the server to stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop as uvicorn does, and pass it on."""
        self.on_exit()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, which ends the process with an exit code that means something else here."""
        try:
            await super().startup(sockets)
        except SystemExit as error:
            raise CommandFailed("The service could not start; its messages above say why.") from error

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does, which waits for the streams that are open."""
        self._app.state.services.watcher.close()
        await super().shutdown(sockets)
