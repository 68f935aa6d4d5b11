"""Files that no row knows go, files that a row or a living lease knows stay, and a missing one is told."""

import os
import time
from datetime import timedelta

import pytest
import structlog

from app import clock
from app import services as wiring
from app.access import LOCAL
from app.duties import take
from app.reconcile import reconcile
from app.report import VerdictKind
from app.schemas import DeletionRequest
from app.services import Services
from app.sweeper import RECONCILING, SweeperThread
from tests.conftest import FRANCE, FakePipeline, worker_on

LATER = timedelta(hours=1)


def test_only_what_is_recorded_or_at_work_stays(services: Services):
    ids = [services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE)).row.id for _ in range(2)]
    bench = worker_on(services, FakePipeline())
    bench.runner.work()
    running = bench.leases.claim(FRANCE["model"], "wrk_b")
    store = services.store
    store.put(running.deletion_id, running.token, {"a": b"1"})
    store.put(ids[0], 7, {"a": b"left by a dead worker"})
    store.put(clock.new_deletion_id(), 1, {"a": b"1"})
    (services.settings.artefacts / ids[0] / ".9.torn").mkdir()
    reconcile(services.database, store, services.settings, clock.now())
    assert len(list(services.settings.artefacts.glob("*/*"))) == 5  # too young to be judged
    reconcile(services.database, store, services.settings, clock.now() + LATER)
    left = {str(path.relative_to(services.settings.artefacts)) for path in services.settings.artefacts.glob("*/*")}
    assert left == {f"{ids[0]}/1", f"{running.deletion_id}/{running.token}"}


FILES = ["adapter.zip", "adapter_config.json", "adapter_model.safetensors", "README.md"]


@pytest.mark.parametrize("file", FILES)
def test_a_recorded_file_that_is_gone_is_told_by_its_id(services: Services, file: str):
    deletion_id = services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE)).row.id
    worker_on(services, FakePipeline()).runner.work()
    with structlog.testing.capture_logs() as before:
        reconcile(services.database, services.store, services.settings, clock.now() + LATER)
    os.remove(services.settings.artefacts / deletion_id / "1" / file)
    with structlog.testing.capture_logs() as after:
        reconcile(services.database, services.store, services.settings, clock.now() + LATER)
    assert before == []
    assert [(entry["event"], entry["deletion_id"]) for entry in after] == [
        ("a recorded file is not in the store", deletion_id)
    ]


@pytest.mark.parametrize("file", FILES)
def test_a_recorded_file_of_another_length_is_told_by_its_id(services: Services, file: str):
    deletion_id = services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE)).row.id
    worker_on(services, FakePipeline()).runner.work()
    os.truncate(services.settings.artefacts / deletion_id / "1" / file, 1)
    with structlog.testing.capture_logs() as told:
        reconcile(services.database, services.store, services.settings, clock.now() + LATER)
    assert [(entry["event"], entry["deletion_id"]) for entry in told] == [("a recorded file is torn", deletion_id)]


def test_a_long_history_is_looked_up_in_pages(services: Services, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.reconcile.BATCH", 3)  # four files of each deletion
    ids = [services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE)).row.id for _ in range(4)]
    bench = worker_on(services, FakePipeline())
    while bench.runner.work():
        pass
    strays = [clock.new_deletion_id() for _ in range(4)]
    for stray in strays:
        services.store.put(stray, 1, {"a": b"1"})
    os.remove(services.settings.artefacts / ids[-1] / "1" / "README.md")
    with structlog.testing.capture_logs() as told:
        reconcile(services.database, services.store, services.settings, clock.now() + LATER)
    assert sorted(entry["deletion_id"] for entry in told) == sorted([*strays, ids[-1]])
    assert {path.name for path in services.settings.artefacts.iterdir()} == set(ids)


def test_the_files_of_a_rejection_that_was_interrupted_go_without_a_restart(services: Services, monkeypatch):
    deletion_id = services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE)).row.id
    thread = SweeperThread(services.sweeper, 3600, reconcile_seconds=0.1)
    thread.start()
    worker_on(services, FakePipeline(VerdictKind.MISSED)).runner.work()
    with monkeypatch.context() as patch:
        patch.setattr(services.store, "delete", lambda *_, **__: None)  # killed, or the bucket did not answer
        services.deletions.reject(LOCAL, deletion_id)
    folder = services.settings.artefacts / deletion_id
    assert folder.exists()
    long_ago = time.time() - 3600
    os.utime(folder / "1", (long_ago, long_ago))
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    thread.stop()
    assert not folder.exists()


def test_one_process_at_a_time_compares_files_and_rows(services: Services):
    second = wiring.build(services.settings)
    assert [services.sweeper.reconcile(), second.sweeper.reconcile()] == [True, False]
    second.bell.close()
    second.database.close()


def test_a_process_that_starts_compares_whoever_had_the_last_turn(services: Services, monkeypatch):
    monkeypatch.setattr("app.sweeper.HOLD_SECONDS", 0.5)
    before = wiring.build(services.settings)
    assert before.sweeper.reconcile()  # it ends here, and a moment later the next process starts
    assert take(services.database, RECONCILING, "died at it", clock.now(), 1)  # or was in a backup that was restored
    services.store.put(clock.new_deletion_id(), 1, {"a": b"left by a dead worker"})
    (left,) = services.settings.artefacts.glob("*/*")
    os.utime(left, (time.time() - 3600,) * 2)
    thread = SweeperThread(services.sweeper, 3600)
    thread.start()
    deadline = time.monotonic() + 20
    while left.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    thread.stop()
    before.bell.close()
    before.database.close()
    assert not left.exists()
