"""A broker of our own that can be stopped, emptied and started again: a Redis server, or a folder of messages."""

import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import redis

from tests.faults.rig import eventually


class Broker(Protocol):
    """What can be done to a broker."""

    def flush(self) -> None:
        """Lose every message."""
        ...


class Folder:
    """The folder of the `filesystem://` transport."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def flush(self) -> None:
        """See Broker."""
        for path in self._folder.rglob("*.msg"):
            path.unlink(missing_ok=True)


class RedisServer:
    """A Redis server on a free port that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is not installed"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._command = [program, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, empty."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._answers, "Redis answering")

    def stop(self) -> None:
        """Kill it with everything it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def flush(self) -> None:
        """See Broker."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def _answers(self) -> bool:
        with suppress(redis.RedisError), redis.Redis.from_url(self.url) as client:
            return bool(client.ping())
        return False
