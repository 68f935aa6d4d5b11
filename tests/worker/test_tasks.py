"""The real Celery worker over real brokers: it takes up what waits and hears callers. `tests/faults` kills it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from pytest_httpserver import HTTPServer
from sqlalchemy import select

from app import tracing
from app.models import Deletion, Stage
from app.supervisor import worker_command
from tests.app.test_rotation import after, rotate, with_new_key
from tests.conftest import FRANCE, caller, wired

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0


class Bench:
    """An API in this process and worker processes beside it."""

    def __init__(self, client: TestClient, settings) -> None:
        self.client = client
        self.settings = settings
        self.slow = settings.data_dir / "slow"
        self._workers: list[subprocess.Popen] = []

    def start_worker(self) -> subprocess.Popen:
        command = worker_command()
        command[command.index("worker.tasks")] = "tests.worker.bench_worker"
        environment = os.environ | {
            f"R2F_{name.upper()}": str(value.get_secret_value() if name == "master_key" else value)
            for name, value in self.settings
            if value is not None
        }
        log = (self.settings.data_dir / f"worker-{len(self._workers)}.log").open("wb")
        worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=log)
        log.close()
        self._workers.append(worker)
        return worker

    def submit(self) -> str:
        return self.client.post("/deletions", json=FRANCE).headers["location"]

    def wait(self, path: str, **wanted) -> dict:
        """The deletion, once it looks like that."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            seen = self.client.get(path).json()
            if wanted.items() <= seen.items():
                return seen
            time.sleep(0.05)
        logs = "\n".join(path.read_text() for path in self.settings.data_dir.glob("worker-*.log"))
        raise AssertionError(f"still {seen}\n{logs}")

    def stop(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()


@pytest.fixture
def bench(settings):
    quick = settings.model_copy(update={"lease_seconds": 2.0, "heartbeat_seconds": 0.5, "sweep_seconds": 0.5})
    with caller(quick) as client:
        made = Bench(client, quick)
        yield made
        made.stop()


def test_what_was_queued_before_is_taken_up_and_a_bell_wakes_the_worker(bench: Bench):
    before = [bench.submit() for _ in range(2)]
    worker = bench.start_worker()
    for path in before:
        bench.wait(path, status="completed")
    bench.wait(bench.submit(), status="completed")
    (seen,) = bench.client.get("/readyz").json()["workers"]
    assert (seen["state"], seen["pid"]) == ("ready", worker.pid)
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert bench.client.get("/readyz").json()["workers"][0]["state"] == "stopped"


def test_whatever_a_worker_writes_is_a_line_of_json(bench: Bench):
    worker = bench.start_worker()
    bench.wait(bench.submit(), status="completed")
    worker.terminate()
    worker.wait(PATIENCE)
    lines = [json.loads(line) for line in (bench.settings.data_dir / "worker-0.log").read_text().splitlines()]
    (ready,) = [line for line in lines if line["event"] == "ready"]
    assert 0 < ready["seconds"] < PATIENCE


def test_the_libraries_that_load_a_model_write_no_lines_of_their_own():
    script = """
import warnings
from app.logs import configure_logging
from worker.tasks import take_over_logs

configure_logging("INFO")
take_over_logs()
from tqdm.auto import tqdm
from transformers.utils import logging

for _ in logging.tqdm(tqdm(range(3))):
    logging.get_logger("transformers.x").warning("mind this")
    warnings.warn("secret words", UserWarning)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["event"] for line in lines} == {"mind this", "a library warns"}  # the control: both were written
    assert "secret" not in done.stderr + done.stdout


def test_a_running_deletion_is_canceled_in_its_worker(bench: Bench):
    bench.slow.touch()
    bench.start_worker()
    path = bench.submit()
    bench.wait(path, status="running", stage="views")
    assert bench.client.delete(path).status_code == 202
    bench.wait(path, status="canceled")


def test_a_worker_that_lacks_the_new_master_key_ends_and_leaves_the_queue_as_it_was(bench: Bench):
    if bench.settings.master_key is None:
        pytest.skip("a key file is read again by itself")
    worker = bench.start_worker()
    bench.wait(bench.submit(), status="completed")
    rotating = with_new_key(bench.settings)
    rotate(rotating)
    with caller(after(rotating)) as client:
        path = client.post("/deletions", json=FRANCE).headers["location"]
        assert worker.wait(PATIENCE) == 1
        seen = client.get(path).json()
        assert (seen["status"], seen["attempt"], seen["error"]) == ("queued", 0, None)
    assert "this worker can open no request" in (bench.settings.data_dir / "worker-0.log").read_text()


def test_a_worker_process_goes_on_with_the_trace_that_the_call_began(
    settings, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
):
    httpserver.expect_request("/v1/traces", method="POST").respond_with_data(b"")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", httpserver.url_for(""))
    monkeypatch.setattr(tracing, "_tracer", TracerProvider().get_tracer("test"))  # of the API, in this process
    with caller(settings) as client:
        bench = Bench(client, settings.model_copy(update={"traces": True}))
        try:
            path = bench.submit()
            worker = bench.start_worker()
            bench.wait(path, status="completed")
            worker.terminate()
            assert worker.wait(PATIENCE) == 0  # it sends what it still holds
        finally:
            bench.stop()
        with wired(client).database.read() as session:
            begun = session.scalars(select(Deletion.trace_parent)).one()
    sent = ExportTraceServiceRequest()
    for request, _answer in httpserver.log:
        sent.MergeFromString(request.get_data())
    spans = [span for r in sent.resource_spans for scope in r.scope_spans for span in scope.spans]
    mine = [span for span in spans if span.trace_id.hex() == begun.split("-")[1]]
    assert {span.name for span in mine} == {"wait", "run", *Stage}
    (run,) = (span for span in mine if span.name == "run")
    assert run.parent_span_id.hex() == begun.split("-")[2]


def test_a_worker_that_cannot_load_ends_and_says_why(settings):
    environment = os.environ | {"R2F_DATA_DIR": str(settings.data_dir), "R2F_MODEL": "no-such-model"}
    environment |= {"R2F_DATABASE_URL": settings.database, "R2F_BROKER_URL": settings.broker_url}
    environment["R2F_BROKER_PREFIX"] = settings.broker_prefix
    if settings.master_key is not None:
        environment["R2F_MASTER_KEY"] = settings.master_key.get_secret_value()
    command = [sys.executable, "-m", "celery", "-A", "worker.tasks", "-q", "worker", "--pool", "solo"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "There is no model with this id." in ended.stderr
