"""The web server of `r2f serve`: uvicorn, which ends what has no end of its own before it waits for connections."""

import socket

import uvicorn
from fastapi import FastAPI

from app.supervisor import CommandFailed

GRACE_SECONDS = 5  # for requests that are being answered when the server stops


class Server(uvicorn.Server):
    """Serves the application, and closes its event streams as soon as it is asked to stop."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=GRACE_SECONDS))
        self._app = app

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
