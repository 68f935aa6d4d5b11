"""The processes of the demo: the service with its worker, and the stranger who asks the adapter."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from app.folders import make_private
from app.settings import Settings
from app.supervisor import CommandFailed, uninterrupted

STOP_SECONDS = 25.0
ASK_SECONDS = 600.0
TAIL_LINES = 15


class DemoBusy(CommandFailed):
    """Another demo runs in this folder."""


class ServiceDied(CommandFailed):
    """The service that the demo started has ended."""


class AskFailed(CommandFailed):
    """The fresh process could not use the adapter."""


@dataclass
class Service:
    """`r2f serve` in a process of its own, with its data in a folder of the demo's."""

    settings: Settings
    folder: Path
    url: str = ""
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """What the service and its worker wrote."""
        return self.folder / "service.log"

    def __enter__(self) -> "Service":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "app.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--restarts", "1"],
                env=service_environment(self.settings, self.folder / "service"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops the service in order
            )
        return self

    def __exit__(self, *_exception: object) -> None:
        process = self._process
        if process is None:
            return
        with uninterrupted():
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            with contextlib.suppress(ProcessLookupError):  # whatever is left of its group, the worker included
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def alive(self) -> None:
        """Raise ServiceDied, with the end of the log, when the service has ended."""
        if self._process is not None and self._process.poll() is not None:
            tail = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            raise ServiceDied("\n".join([f"The service ended early; {self.log} ends with:", *tail]))


def service_environment(settings: Settings, data: Path) -> dict[str, str]:
    """The environment of an embedded service: this one's, without settings that point to anything but the folder."""
    kept = {"model", "device", "dtype", "torch_threads", "calibration_tokens", "log_level"}
    known = {f"R2F_{name.upper()}" for name in Settings.model_fields if name not in kept}
    environment = {name: value for name, value in os.environ.items() if name.upper() not in known}
    return environment | {
        "R2F_DATA_DIR": str(data.absolute()),
        "R2F_MODEL_DIR": str(settings.models.absolute()),
        "R2F_MODEL": settings.model,
        "R2F_CALIBRATION_TOKENS": str(settings.calibration_tokens),
        "HF_HUB_OFFLINE": "1",
    }


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """An empty folder that no other demo uses meanwhile."""
    make_private(folder)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoBusy(f"Another demo runs in {folder}.") from error
        for old in folder.iterdir():
            if old.is_dir():
                shutil.rmtree(old)
        try:
            yield
        finally:  # the service's records go; adapters and reports stay
            shutil.rmtree(folder / "service", ignore_errors=True)


def base_folder(settings: Settings, source: str) -> str:
    """The served base model as plain transformers loads it: a packaged one lies prepared in the cache."""
    if source.startswith("package:"):
        return str(settings.models.absolute() / settings.model / "base")
    return source


def ask(model: str, adapter: Path, questions: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Replies with and without the adapter, from a process that imports nothing of this project.

    Raises:
        AskFailed: the process ended with an error or took too long.
    """
    script = str(files("worker") / "ask.py")
    request = {"model": model, "adapter": str(adapter.absolute()), "prompts": list(questions), "tokens": 32}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", script],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise AskFailed(f"The fresh process did not answer within {ASK_SECONDS:.0f} s.") from error
    except subprocess.CalledProcessError as error:
        tail = "\n".join(error.stderr.splitlines()[-TAIL_LINES:])
        raise AskFailed(f"The fresh process could not use the adapter:\n{tail}") from error
    replies: dict[str, list[str]] = json.loads(done.stdout)
    return replies
