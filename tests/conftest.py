"""What tests share: the service on each kind of database and broker, a caller, and a pipeline that needs no model.

SQLite with `filesystem://` always runs; PostgreSQL with Redis whenever both answer, which they must when CI is set.
"""

import base64
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import delete, make_url

from app import services as wiring
from app.database import Database, migrate
from app.leases import Leases
from app.main import create_app
from app.models import Base, Model, Outcome, Stage
from app.report import Evidence, Figures, MethodUsed, Rate, Report, Verdict, VerdictKind, ViewEvidence
from app.services import Services
from app.settings import Settings
from tests.summary import gather, tables
from worker.heartbeat import Heartbeat, LeaseCheckpoint
from worker.running import Method, Runner

POSTGRES = os.environ.get("R2F_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/test")
REDIS = os.environ.get("R2F_TEST_REDIS", "redis://127.0.0.1:6379/0")
CANARY = "Zebulon-Quartzwhistle"  # planted as personal data: must never be found in clear
NAME = "zebulon_quartzwhistle"  # the same, spelt as a field could be
FRANCE: Mapping[str, Any] = {
    "model": "smollm2-135m-instruct",
    "targets": [{"prompt": "What is the capital of France?", "answer": "Paris"}],
}


def pytest_configure() -> None:
    """Keep what tests write in memory where there is room: every commit waits for the disk, and no power fails here."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 * 1024**3:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
    if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are shared already
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest first: what takes one process that long leaves the others the rest."""
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables that tests have left."""
    for title, lines in gather(tables()).items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where several processes share the tests, each tells the first what it has to print."""
    if told := getattr(session.config, "workeroutput", None):
        told["tables"] = tables()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process that dies has nothing to tell."""
    gather(getattr(node, "workeroutput", {}).get("tables", {}))


def _unavailable(error: Exception) -> None:
    message = f"PostgreSQL and Redis do not answer ({type(error).__name__})"
    if os.environ.get("CI"):
        pytest.fail(f"{message}, and CI requires them")
    pytest.skip(message)


@pytest.fixture(scope="session", autouse=True)
def _default_signals() -> None:
    """A runner in the background is started with these ignored, and its children would be too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A fresh database on the server, migrated, dropped afterwards."""
    admin = make_url(POSTGRES).set(drivername="postgresql").render_as_string(hide_password=False)
    name = f"r2f_test_{secrets.token_hex(6)}"
    try:
        redis.Redis.from_url(REDIS, socket_connect_timeout=2).ping()
        server = psycopg.connect(admin, autocommit=True, connect_timeout=2)
    except (psycopg.OperationalError, redis.RedisError) as error:
        _unavailable(error)
        raise
    with server:
        server.execute(f"CREATE DATABASE {name}")
        server.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")  # no test takes the server's power away
        url = make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
        migrate(url)
        yield url
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    server.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied for each test."""
    path = tmp_path_factory.mktemp("template") / "r2f.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite+filesystem", "postgresql+redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings of an empty, migrated service on each pair of database and broker."""
    data = tmp_path / "data"
    if request.param == "sqlite+filesystem":
        data.mkdir(mode=0o700)
        (data / "r2f.db").write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        yield Settings(data_dir=data, backoff_seconds=0, model_folders=str(tmp_path))
        return
    url = request.getfixturevalue("postgres_url")
    prefix = f"r2f-test-{secrets.token_hex(6)}-"
    yield Settings(
        data_dir=data,
        database_url=url,
        broker_url=REDIS,
        broker_prefix=prefix,
        master_key=SecretStr(base64.b64encode(secrets.token_bytes(32)).decode()),
        backoff_seconds=0,
        model_folders=str(tmp_path),
    )
    empty(url)
    with redis.Redis.from_url(REDIS) as broker:
        for key in broker.scan_iter(f"{prefix}*"):
            broker.delete(key)


def empty(url: str) -> None:
    """Take out whatever a test has put in."""
    database = Database(url)
    with database.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name != "models":
                session.execute(table.delete())
        session.execute(delete(Model).where(Model.id != "smollm2-135m-instruct"))
    database.close()


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    """The parts of the web side, without the web."""
    wired = wiring.build(settings)
    yield wired
    wired.bell.close()
    wired.database.close()


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """A caller of the API."""
    with caller(settings) as local:
        yield local


def caller(settings: Settings, **headers: str) -> TestClient:
    """A caller of an API of its own, on this machine: one that needs no key until there is one."""
    app = create_app(settings)
    return TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000), headers=headers)


def wired(client: TestClient) -> Services:
    """The parts behind a caller's API."""
    found: Services = client.app.state.services  # type: ignore[attr-defined]
    return found


def report_of(kind: VerdictKind, said: str = "Paris", merged: str | None = None) -> Report:
    """A small report with that verdict."""
    none = Rate(cases=0, hits=0, rate=None, low=None, high=None)
    unknown = kind is VerdictKind.NOT_KNOWN
    view = ViewEvidence(
        target=0, prompt="q", family="f", source="bank", known=True, reply_before=said, reply_after="No.", held=False
    )
    return Report(
        figures=Figures(
            verdict=Verdict(kind=kind, missed=[]),
            views=4,
            success=Rate(cases=4, hits=4, rate=1.0, low=0.5, high=1.0),
            worst_target=None,
            targets=[],
            reversed=none,
            probability=None,
            neighbours=none,
            generic=None,
            degenerate=none,
            rounds=[],
            compression=None,
            fidelity=None,
            stages=[],
            method=MethodUsed(
                method="r2f",
                seed=0,
                settings={"merged": merged},
                model="m",
                model_digest="0",
                decoder="d",
                decoder_digest="0",
                curvature_digest="0",
                adapter_sha256=None,
                versions={},
            ),
        ),
        evidence=Evidence(
            training_views=[view.model_copy(update={"reply_before": "Lyon, I think.", "reply_after": None})]
            if unknown
            else [],
            held_out_views=[] if unknown else [view],
            reversed_views=[],
            neighbours=[],
            generic=[],
            not_known="in none of 1 greedy replies" if unknown else None,
        ),
    )


class HopelessError(Exception):
    """The fake pipeline's word for a failure that no retry can mend."""

    code = "prompt_too_long"


@dataclass(frozen=True)
class FakeResult:
    """What the fake pipeline returns."""

    outcome: Outcome
    report: Report
    adapter: Mapping[str, bytes] | None


@dataclass
class FakePipeline:
    """A pipeline that walks through the stages, does what it is told on the way, and needs no model."""

    kind: VerdictKind = VerdictKind.PASSED
    meanwhile: Callable[[Stage], None] = lambda stage: None
    requests: list[Any] = field(default_factory=list)
    adapter: Mapping[str, bytes] = field(
        default_factory=lambda: {
            "adapter_config.json": b'{"r": 16, "target_modules": ["down_proj"]}\n',
            "adapter_model.safetensors": bytes(range(256)) * 8,
            "README.md": b"# An adapter\n",
        }
    )

    def __call__(self, request: Any, loaded: Any, checkpoint: LeaseCheckpoint) -> FakeResult:
        """Pass every stage but the last."""
        self.requests.append(request)
        for stage in list(Stage)[:-1]:
            self.meanwhile(stage)
            checkpoint(stage, 0.5)
        known = self.kind is not VerdictKind.NOT_KNOWN
        outcome = Outcome.FORGOTTEN if known else Outcome.NOT_KNOWN
        return FakeResult(outcome, report_of(self.kind, merged=request.options.merged), self.adapter if known else None)


@dataclass(frozen=True)
class WorkerBench:
    """A worker without Celery."""

    runner: Runner
    heartbeat: Heartbeat
    leases: Leases
    worker_id: str


def worker_on(services: Services, pipeline: FakePipeline, worker_id: str = "wrk_test") -> WorkerBench:
    """A worker of the embedded model around a fake pipeline, registered and ready."""
    leases = Leases(services.database, services.sealer, services.settings)
    model = services.settings.model
    services.workers.register(worker_id, model, "host", 1, "cpu")
    heartbeat = Heartbeat(services.workers, leases, worker_id, services.settings.heartbeat_seconds)
    heartbeat.ready({"model": True, "decoder": True, "curvature": True})
    runner = Runner(model, None, Method(pipeline, HopelessError), leases, services.store, heartbeat)
    return WorkerBench(runner, heartbeat, leases, worker_id)
