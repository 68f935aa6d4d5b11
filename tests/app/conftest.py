"""The service behind a real socket, for clients that know nothing of it; and a database before its migrations."""

import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import uvicorn
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import make_url

from app import tracing
from app.client import Client
from app.main import create_app
from app.services import Services
from app.settings import Settings
from tests.app.processes import environment_in
from tests.conftest import POSTGRES, FakePipeline, WorkerBench, worker_on


@dataclass(frozen=True)
class Live:
    """A service that listens, and its parts."""

    url: str
    services: Services

    def worker(self, pipeline: FakePipeline | None = None) -> WorkerBench:
        """A worker of it."""
        return worker_on(self.services, pipeline or FakePipeline(), f"wrk_{uuid4().hex}")


@pytest.fixture
def live(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The service on a free port; one kind of database is enough, a caller sees none of it."""
    data = tmp_path_factory.mktemp("data")
    (data / "r2f.db").write_bytes(sqlite_template.read_bytes())
    app = create_app(Settings(data_dir=data, backoff_seconds=0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen(64)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"

        with Client(url) as caller:
            caller.models()  # answered once the service has started
        yield Live(url, app.state.services)
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    request.getfixturevalue("postgres_url")  # skips, or fails under CI, when there is no server
    name = f"r2f_test_{secrets.token_hex(6)}"
    admin = make_url(POSTGRES).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        yield make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans that this process sends, in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    return exporter


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose service lives in a fresh folder."""
    return environment_in(tmp_path)
