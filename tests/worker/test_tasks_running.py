"""One deletion from claim to record: every way a run can end, on a real database, with a pipeline that is told how."""

import secrets
import threading
import time

import pytest
from sqlalchemy import update

from app import clock
from app.access import LOCAL
from app.errors import KeyNotAtHand, NoDiskSpace, RunCanceled, StoreUnavailable
from app.leases import Leases
from app.masterkeys import MasterKeys
from app.models import ArtefactKind, Deletion, Outcome, Stage, Status, WorkerState
from app.report import VerdictKind
from app.schemas import DeletionRequest
from app.sealing import LocalSealer
from app.services import Services
from app.transitions import STAGE_WEIGHTS
from app.waiting import Waiting, waiting_for
from tests.conftest import FRANCE, FakePipeline, HopelessError, worker_on
from worker.heartbeat import Heartbeat, LeaseCheckpoint
from worker.running import Method, Runner

MODEL = FRANCE["model"]


@pytest.fixture
def deletion_id(services: Services) -> str:
    return services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE)).row.id


def raising(error: Exception):
    def act(_stage: Stage) -> None:
        raise error

    return act


def at(stage: Stage, action):
    """Do something once, when a stage is reached."""

    def act(reached: Stage) -> None:
        if reached is stage:
            action()

    return act


def folders(services: Services, deletion_id: str) -> list[str]:
    place = services.settings.artefacts / deletion_id
    return sorted(path.name for path in place.iterdir()) if place.exists() else []


@pytest.mark.parametrize(
    ("kind", "status", "outcome"),
    [
        (VerdictKind.PASSED, Status.COMPLETED, Outcome.FORGOTTEN),
        (VerdictKind.NOT_KNOWN, Status.COMPLETED, Outcome.NOT_KNOWN),
        (VerdictKind.MISSED, Status.NEEDS_REVIEW, None),
        (VerdictKind.INSUFFICIENT_EVIDENCE, Status.NEEDS_REVIEW, None),
    ],
)
def test_the_verdict_decides_how_a_run_ends(services, deletion_id, kind, status, outcome):
    pipeline = FakePipeline(kind)
    assert worker_on(services, pipeline).runner.work().deletion_id == deletion_id
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.outcome, row.progress, row.lease_expires_at) == (status, outcome, 1.0, None)
    assert row.stage is Stage.PUBLISHING
    assert services.deletions.report(row).figures.verdict.kind is kind
    stored = services.deletions.artefacts(deletion_id, ArtefactKind.ADAPTER)
    assert len(stored) == (0 if kind is VerdictKind.NOT_KNOWN else 1)
    assert pipeline.requests == [DeletionRequest.model_validate(FRANCE)]


def test_a_worker_without_work_does_nothing(services):
    assert worker_on(services, FakePipeline()).runner.work() is None


def test_a_failure_that_nothing_can_mend_fails_at_once_with_its_code(services, deletion_id):
    pipeline = FakePipeline(meanwhile=raising(HopelessError("A prompt is too long.")))
    worker_on(services, pipeline).runner.work()
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.error_code, row.error_message) == (
        Status.FAILED,
        "prompt_too_long",
        "A prompt is too long.",
    )
    assert row.attempt == 1


def test_an_unexpected_failure_is_tried_again_and_told_without_its_message(services, deletion_id):
    bench = worker_on(services, FakePipeline(meanwhile=raising(ValueError("about Paris"))))
    for attempt in (1, 2):
        bench.runner.work()
        assert services.deletions.get(LOCAL, deletion_id).status is Status.QUEUED
        assert services.deletions.get(LOCAL, deletion_id).attempt == attempt
    bench.runner.work()
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.error_code) == (Status.FAILED, "internal_error")
    assert row.error_message == "The run failed unexpectedly (ValueError)."
    assert bench.runner.work() is None


@pytest.mark.parametrize("fault", [NoDiskSpace, StoreUnavailable])
def test_a_store_that_takes_nothing_is_waited_for_however_long_it_is(services, deletion_id, monkeypatch, fault):
    monkeypatch.setattr("worker.running.PATIENCE", ())
    bench = worker_on(services, FakePipeline())
    with monkeypatch.context() as patch:
        patch.setattr(services.store, "put", lambda *_: (_ for _ in ()).throw(fault()))
        for _ in range(services.settings.max_attempts + 2):
            bench.runner.work()
            row = services.deletions.get(LOCAL, deletion_id)
            assert (row.status, row.attempt) == (Status.QUEUED, 0)
            assert row.error_code == ("no_disk_space" if fault is NoDiskSpace else "store_unavailable")
            assert folders(services, deletion_id) == []
    bench.runner.work()
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.attempt, row.error_code, row.error_message) == (Status.COMPLETED, 1, None, None)


def test_the_wait_for_the_store_grows_up_to_a_bound_and_is_seen(services, deletion_id):
    settings = services.settings.model_copy(update={"backoff_seconds": 10.0})
    leases, waits = Leases(services.database, services.sealer, settings), []
    for _ in range(9):
        leases.defer(leases.claim(MODEL, "wrk_a"), "no_disk_space", "Full.")
        row = services.deletions.get(LOCAL, deletion_id)
        assert waiting_for(row, clock.now()) is Waiting.STORE
        waits.append((row.not_before - row.updated_at).total_seconds())
        with services.database.write() as session:
            session.execute(update(Deletion).values(not_before=clock.now()))
        assert waiting_for(services.deletions.get(LOCAL, deletion_id), clock.now()) is Waiting.WORKER
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_a_request_that_cannot_be_opened_fails(services, deletion_id):
    with services.database.write() as session:
        session.execute(update(Deletion).values(wrapped_key=None))
    worker_on(services, FakePipeline()).runner.work()
    assert services.deletions.get(LOCAL, deletion_id).error_code == "request_unreadable"


def test_a_worker_without_the_master_key_hands_back_whatever_it_claims_and_says_so(services, deletion_id):
    strangers = MasterKeys(lambda: [secrets.token_bytes(32)])
    leases = Leases(services.database, LocalSealer(strangers, services.records.vault), services.settings)
    services.workers.register("wrk_a", MODEL, "host", 1, "cpu")
    heartbeat = Heartbeat(services.workers, leases, "wrk_a", 60)
    runner = Runner(MODEL, None, Method(FakePipeline(), HopelessError), leases, services.store, heartbeat)
    for _ in range(services.settings.max_attempts + 1):
        with pytest.raises(KeyNotAtHand):
            runner.work()
        row = services.deletions.get(LOCAL, deletion_id)
        assert (row.status, row.attempt) == (Status.QUEUED, 0)
    worker_on(services, FakePipeline(), "wrk_b").runner.work()
    assert services.deletions.get(LOCAL, deletion_id).status is Status.COMPLETED


def test_a_cancel_during_the_run_ends_it_at_the_next_check(services, deletion_id):
    seen = []

    def cancel(stage: Stage) -> None:
        seen.append(stage)
        if stage is Stage.NEIGHBOURS:
            services.deletions.cancel(LOCAL, deletion_id)

    worker_on(services, FakePipeline(meanwhile=cancel)).runner.work()
    assert seen == [Stage.VIEWS, Stage.NEIGHBOURS]
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.cancel_requested) == (Status.CANCELED, False)


def test_a_shutdown_gives_the_run_back_uncounted(services, deletion_id):
    bench = worker_on(services, FakePipeline(meanwhile=at(Stage.UNLEARNING, lambda: bench.heartbeat.leave())))
    bench.runner.work()
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.attempt, row.stage) == (Status.QUEUED, 0, None)


def test_a_shutdown_hands_the_run_back_while_it_is_deaf(services, deletion_id):
    """The thread gives it back and rings; the run that comes to its end afterwards publishes nothing."""
    rung = threading.Event()
    services.workers.register("wrk_a", MODEL, "host", 1, "cpu")
    leases = Leases(services.database, services.sealer, services.settings)
    heartbeat = Heartbeat(services.workers, leases, "wrk_a", 60, handed_back=lambda claim: rung.set())
    heartbeat.start()

    class Deaf(FakePipeline):
        def __call__(self, request, loaded, checkpoint):
            heartbeat.leave()
            assert rung.wait(10)
            assert services.deletions.get(LOCAL, deletion_id).status is Status.QUEUED
            return super().__call__(request, loaded, lambda stage, fraction: None)

    Runner(MODEL, None, Method(Deaf(), HopelessError), leases, services.store, heartbeat).work()
    heartbeat.stop()
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.attempt) == (Status.QUEUED, 0)
    assert folders(services, deletion_id) == []


def test_a_late_worker_finishes_and_its_result_is_thrown_away(services, deletion_id):
    """The first worker sleeps through its lease; a second one takes over and publishes; the first then wakes up."""
    second = worker_on(services, FakePipeline(), "wrk_second")

    def sleep() -> None:
        with services.database.write() as session:
            session.execute(update(Deletion).values(lease_expires_at=clock.now()))
        second.runner.work()

    class Deaf(FakePipeline):
        """Never checks, as if stopped between its last check and its end."""

        def __call__(self, request, loaded, checkpoint):
            sleep()
            return super().__call__(request, loaded, lambda stage, fraction: None)

    late = worker_on(services, Deaf(), "wrk_late")
    late.runner.work()
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.lease_owner, row.lease_token) == (Status.COMPLETED, "wrk_second", 2)
    assert folders(services, deletion_id) == ["2"]
    (zipped,) = services.deletions.artefacts(deletion_id, ArtefactKind.ADAPTER)
    assert zipped.path.startswith(f"{deletion_id}/2/")


def test_what_a_dead_run_left_behind_goes_when_the_next_one_publishes(services, deletion_id):
    leases = Leases(services.database, services.sealer, services.settings)
    dead = leases.claim(MODEL, "wrk_dead")
    services.store.put(deletion_id, dead.token, {"adapter.zip": b"half"})
    with services.database.write() as session:
        session.execute(update(Deletion).values(lease_expires_at=clock.now()))
    worker_on(services, FakePipeline()).runner.work()
    assert folders(services, deletion_id) == ["2"]


def test_a_rerun_after_a_rejection_replaces_the_adapter(services, deletion_id):
    worker_on(services, FakePipeline(VerdictKind.MISSED)).runner.work()
    services.deletions.reject(LOCAL, deletion_id)
    services.deletions.retry(LOCAL, deletion_id)
    worker_on(services, FakePipeline(), "wrk_second").runner.work()
    assert folders(services, deletion_id) == ["2"]
    assert services.deletions.get(LOCAL, deletion_id).error_code is None


def test_the_heartbeat_keeps_a_silent_run_alive_and_shows_the_worker_busy(services, deletion_id):
    settings = services.settings.model_copy(update={"lease_seconds": 1.0, "heartbeat_seconds": 0.2})
    leases = Leases(services.database, services.sealer, settings)
    services.workers.register("wrk_a", MODEL, "host", 1, "cpu")
    heartbeat = Heartbeat(services.workers, leases, "wrk_a", settings.heartbeat_seconds)
    heartbeat.start()
    claim = leases.claim(MODEL, "wrk_a")
    with heartbeat.busy(claim):
        time.sleep(1.5)  # longer than the lease
        assert leases.claim(MODEL, "wrk_b") is None
        assert services.workers.known()[0].state is WorkerState.BUSY
        services.deletions.cancel(LOCAL, deletion_id)
        time.sleep(1.0)  # several beats
        with pytest.raises(RunCanceled):
            heartbeat.check()
    assert services.workers.known()[0].state is WorkerState.READY
    heartbeat.stop()
    assert services.workers.known()[0].state is WorkerState.STOPPED


def test_a_worker_with_nothing_to_do_lets_go_of_a_key_that_was_rotated_away(services):
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    named = [old]
    keys = MasterKeys(lambda: list(named))
    services.workers.register("wrk_a", MODEL, "host", 1, "cpu")
    leases = Leases(services.database, services.sealer, services.settings)
    beaten = threading.Event()

    def refresh() -> None:
        keys.refresh()
        beaten.set()

    heartbeat = Heartbeat(services.workers, leases, "wrk_a", 0.05, refresh_keys=refresh)
    named[:] = [new]
    before = keys.present.epoch
    heartbeat.start()
    assert beaten.wait(10)
    heartbeat.stop()
    assert before not in keys._keys


def test_progress_within_a_stage_is_not_written_more_than_once_a_second(services, deletion_id):
    bench = worker_on(services, FakePipeline())
    checkpoint = LeaseCheckpoint(bench.heartbeat, bench.leases, bench.leases.claim(MODEL, bench.worker_id))
    checkpoint(Stage.VIEWS, 0.0)
    checkpoint(Stage.VIEWS, 0.9)
    assert services.deletions.get(LOCAL, deletion_id).progress == 0.0
    checkpoint(Stage.NEIGHBOURS, 0.0)
    assert services.deletions.get(LOCAL, deletion_id).progress == STAGE_WEIGHTS[Stage.VIEWS]
