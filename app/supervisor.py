"""Processes that belong together: a worker beside the server, restarted when it dies and stopped with it."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import ClassVar

import structlog

SETTLED_SECONDS = 60.0  # a child that lived this long has recovered: the next pause is short again

log = structlog.get_logger(__name__)


class CommandFailed(Exception):
    """The command could not do its work."""

    code: ClassVar[int] = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class UsedWrongly(CommandFailed):
    """What was typed cannot be meant."""

    code = 2


class PortInUse(CommandFailed):
    """The port is in use."""

    code = 3


class WorkerNotReady(CommandFailed):
    """No worker became ready."""

    code = 4


class ServerUnreachable(CommandFailed):
    """The server does not answer."""

    code = 5


class ChildKeepsDying(CommandFailed):
    """A child process dies again and again."""

    code = 6


class Terminated(BaseException):
    """Another process asked this one to stop; a BaseException, so that nothing swallows it on the way out."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.code = 128 + signum


def worker_command() -> list[str]:
    """What a worker process runs. Celery's solo pool, because a fork would break CUDA and load the model again."""
    celery = [sys.executable, "-m", "celery", "--app", "worker.tasks", "--quiet", "worker"]
    lean = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [*celery, "--pool", "solo", *lean]


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address, before anything slow is started.

    Raises:
        PortInUse: something listens there already.
        CommandFailed: the address does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(1024)  # now, not later: two binds of one port can both succeed, two listens cannot
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"Port {port} on {host} is in use. Choose another with --port, or R2F_PORT.") from error
        raise CommandFailed(f"Cannot listen on {host} port {port}: {error.strerror}.") from error
    return bound


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into Terminated, so that what was started is stopped on the way out."""

    def stop(signum: int, _frame: FrameType | None) -> None:
        raise Terminated(signum)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore further signals while cleaning up; what runs inside must end by itself."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_process(process: "subprocess.Popen[bytes]", grace: float, *, ask: bool = True) -> None:
    """Ask a process to end, unless that was done, and make it end when it has not after the grace (seconds)."""
    if ask:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Supervisor:
    """Keeps one child process running for as long as the context is open."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        pause: float = 1.0,
        longest_pause: float = 60.0,
        grace: float = 20.0,
        restarts: int | None = None,
        on_give_up: Callable[[], None] | None = None,
    ) -> None:
        """Times in seconds; restarts is how many in a row are tried before giving up, None for no end of them."""
        self.command = list(command)
        self.gave_up = False
        self._on_give_up = on_give_up
        self._environment = {**os.environ, **(environment or {})}
        self._first_pause, self._longest_pause = pause, longest_pause
        self._grace, self._restarts = grace, restarts
        self._stopping = threading.Event()
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._dismissed: subprocess.Popen[bytes] | None = None  # the child that has been asked to end
        self._thread = threading.Thread(target=self._keep, name="supervisor", daemon=True)

    def __enter__(self) -> "Supervisor":
        self._start()
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        with uninterrupted():
            with self._turn:
                self._stopping.set()
            if self._child is not None:
                # asked twice, Celery would not wait for what it does
                stop_process(self._child, self._grace, ask=self._child is not self._dismissed)
            self._thread.join()

    def dismiss(self) -> None:
        """Ask the child to end, and start no other; leaving the context waits for it. Safe in a signal handler."""
        self._stopping.set()
        self._dismissed = self._child
        if self._child is not None:
            self._child.terminate()

    @property
    def pid(self) -> int | None:
        """Process id of the child that was started last."""
        return self._child.pid if self._child else None

    def _start(self) -> None:
        """Start the child, unless everything is being stopped."""
        with self._turn:
            if not self._stopping.is_set():
                self._child = subprocess.Popen(self.command, env=self._environment, stdin=subprocess.DEVNULL)

    def _keep(self) -> None:
        """Wait for the child and start it again, after a pause that doubles, until told to stop."""
        pause, failures = self._first_pause, 0
        while self._child is not None and not self._stopping.is_set():
            began = time.monotonic()
            code = self._child.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - began >= SETTLED_SECONDS:
                pause, failures = self._first_pause, 0
            failures += 1
            if self._restarts is not None and failures > self._restarts:
                log.error("worker_gave_up", code=code, count=failures)
                self.gave_up = True
                if self._on_give_up is not None:
                    self._on_give_up()
                return
            log.warning("worker_died", code=code, seconds=pause)  # seconds until it is started again
            if self._stopping.wait(pause):
                return
            pause = min(pause * 2, self._longest_pause)
            self._start()
