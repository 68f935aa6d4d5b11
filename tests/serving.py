"""The service on a port of this machine, for tests that need real connections: streams and browsers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from app.main import create_app
from app.server import Server
from app.services import Services
from app.settings import Settings


@dataclass(frozen=True)
class Served:
    """A running service and its address."""

    url: str
    app: FastAPI
    server: Server

    @property
    def services(self) -> Services:
        """The parts behind the address."""
        found: Services = self.app.state.services
        return found


@contextmanager
def serving(settings: Settings) -> Iterator[Served]:
    """The API in a thread; it is stopped as SIGTERM stops it."""
    bound = socket.create_server(("127.0.0.1", 0))
    app = create_app(settings)
    server = Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    started = threading.Event()
    startup = server.startup

    async def tell(sockets: list[socket.socket] | None = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = tell  # type: ignore[method-assign]
    thread.start()
    assert started.wait(20), "the service did not start"
    try:
        yield Served(f"http://127.0.0.1:{bound.getsockname()[1]}", app, server)
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()
        assert not thread.is_alive(), "the service did not stop"
