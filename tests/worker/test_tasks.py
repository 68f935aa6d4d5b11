"""The real Celery worker over real brokers: it takes up what waits, and its death loses nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.supervisor import worker_command
from tests.conftest import FRANCE

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0


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
        worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
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
    with TestClient(create_app(quick)) as client:
        made = Bench(client, quick)
        yield made
        made.stop()


def test_what_was_queued_before_is_taken_up_and_a_bell_wakes_the_worker(bench: Bench):
    before = [bench.submit() for _ in range(2)]
    worker = bench.start_worker()
    for path in before:
        bench.wait(path, status="completed")
    began = time.monotonic()
    bench.wait(bench.submit(), status="completed")
    assert time.monotonic() - began < 5
    (seen,) = bench.client.get("/readyz").json()["workers"]
    assert (seen["state"], seen["pid"]) == ("ready", worker.pid)
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert bench.client.get("/readyz").json()["workers"][0]["state"] == "stopped"


def test_a_worker_killed_in_the_middle_loses_nothing(bench: Bench):
    bench.slow.touch()
    first = bench.start_worker()
    path = bench.submit()
    bench.wait(path, status="running", stage="views")
    first.send_signal(signal.SIGKILL)
    first.wait()
    bench.slow.unlink()
    bench.start_worker()
    seen = bench.wait(path, status="completed")
    assert (seen["outcome"], seen["attempt"]) == ("forgotten", 2)
    assert bench.client.get(f"{path}/adapter").status_code == 200


def test_a_worker_asked_to_stop_gives_its_run_back_at_once(bench: Bench):
    bench.slow.touch()
    worker = bench.start_worker()
    path = bench.submit()
    bench.wait(path, status="running", stage="views")
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert bench.client.get(path).json()["status"] == "queued"


def test_a_running_deletion_is_canceled_in_its_worker(bench: Bench):
    bench.slow.touch()
    bench.start_worker()
    path = bench.submit()
    bench.wait(path, status="running", stage="views")
    assert bench.client.delete(path).status_code == 202
    bench.wait(path, status="canceled")


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
