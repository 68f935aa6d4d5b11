"""Files that no row knows go, files that a row or a living lease knows stay, and a missing one is told."""

import os
from datetime import timedelta

import structlog

from app import clock
from app.access import LOCAL
from app.reconcile import reconcile
from app.schemas import DeletionRequest
from app.services import Services
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


def test_a_recorded_file_that_is_gone_is_told_by_its_id(services: Services):
    deletion_id = services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE)).row.id
    worker_on(services, FakePipeline()).runner.work()
    with structlog.testing.capture_logs() as before:
        reconcile(services.database, services.store, services.settings, clock.now() + LATER)
    os.remove(services.settings.artefacts / deletion_id / "1" / "adapter.zip")
    with structlog.testing.capture_logs() as after:
        reconcile(services.database, services.store, services.settings, clock.now() + LATER)
    assert before == []
    assert [(entry["event"], entry["deletion_id"]) for entry in after] == [
        ("a recorded file is not in the store", deletion_id)
    ]
