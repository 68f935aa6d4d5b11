"""The sweeper: rings again for what nobody took, ends what nobody will take, and does it in one process at a time."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update

from app import clock
from app import services as wiring
from app.access import LOCAL
from app.errors import RingFailed
from app.leases import Leases
from app.models import Deletion, Duty, IdempotencyKey, Model, Status, WorkerProcess, WorkerState
from app.queue import queue_of
from app.schemas import DeletionRequest
from app.services import Services
from app.sweeper import Sweeper, SweeperThread
from tests.conftest import FRANCE

MODEL = FRANCE["model"]


class RecordingBell:
    """A bell that notes for whom it rang, and can be out of order."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.broken = False
        self.heard = threading.Event()

    def ring(self, deletion_id: str, model: str) -> None:
        if self.broken:
            raise RingFailed
        self.rung.append(deletion_id)
        self.heard.set()


@pytest.fixture
def bell() -> RecordingBell:
    return RecordingBell()


@pytest.fixture
def sweeper(services: Services, bell: RecordingBell) -> Sweeper:
    return sweeper_of(services, bell)


def sweeper_of(services: Services, bell: RecordingBell) -> Sweeper:
    leases = Leases(services.database, services.sealer, services.settings)
    return Sweeper(services.database, leases, services.workers, services.store, bell, services.settings)


def submit(services: Services, key: str | None = None) -> str:
    return services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE), key).row.id


def change(services: Services, **values) -> None:
    with services.database.write() as session:
        session.execute(update(Deletion).values(**values))


def employ(services: Services, *workers: str, state: WorkerState = WorkerState.READY) -> None:
    for worker in workers:
        services.workers.register(worker, MODEL, "host", 1, "cpu")
        services.workers.report(worker, state, {})


LONG_AGO = timedelta(hours=1)


def test_a_bell_that_was_lost_is_rung_again_for_a_live_worker(services, sweeper, bell):
    deletion_id = submit(services)
    employ(services, "wrk_a")
    assert sweeper.sweep()
    assert bell.rung == []  # its own bell may still be on the way
    change(services, updated_at=clock.now() - LONG_AGO)
    sweeper.sweep()
    assert bell.rung == [deletion_id]


def test_no_heap_of_bells_grows_while_nobody_listens(services, sweeper, bell):
    made = [submit(services) for _ in range(3)]
    change(services, updated_at=clock.now() - LONG_AGO)
    sweeper.sweep()
    assert bell.rung == []
    employ(services, "wrk_loads", state=WorkerState.LOADING)
    employ(services, "wrk_computes", state=WorkerState.BUSY)
    for _ in range(5):
        sweeper.sweep()
    assert bell.rung == []  # each looks for work by itself once it can
    employ(services, "wrk_a", "wrk_b")
    sweeper.sweep()
    assert bell.rung == made[:2]


def test_a_long_queue_of_one_model_hides_nothing_of_another(services, sweeper, bell):
    """A thousand and more wait for a model whose workers are away; a later one's lost bell is rung all the same."""
    with services.database.write() as session:
        known = session.get(Model, MODEL)
        session.add(Model(**{column.key: getattr(known, column.key) for column in Model.__table__.c} | {"id": "away"}))
    first = submit(services)
    with services.database.write() as session:
        row = session.get(Deletion, first)
        values = {column.key: getattr(row, column.key) for column in Deletion.__table__.c} | {"model": "away"}
        session.execute(insert(Deletion), [values | {"id": clock.new_deletion_id()} for _ in range(1001)])
    deletion_id = submit(services)
    change(services, updated_at=clock.now() - LONG_AGO)
    with services.database.write() as session:
        session.execute(update(Deletion).where(Deletion.id == first).values(status=Status.CANCELED))
    employ(services, "wrk_a")
    sweeper.sweep()
    assert bell.rung == [deletion_id]


def test_an_expired_lease_is_rung_for(services, sweeper, bell):
    deletion_id = submit(services)
    employ(services, "wrk_a")
    Leases(services.database, services.sealer, services.settings).claim(MODEL, "wrk_dead")
    change(services, lease_expires_at=clock.now() - LONG_AGO, updated_at=clock.now() - LONG_AGO)
    sweeper.sweep()
    assert bell.rung == [deletion_id]
    assert services.deletions.get(LOCAL, deletion_id).status is Status.RUNNING


def test_the_next_sweep_comes_when_a_lease_runs_out_and_no_earlier_than_needed(services, sweeper):
    submit(services)
    sweeper.sweep()
    assert sweeper.pause(15.0) == 15.0
    Leases(services.database, services.sealer, services.settings).claim(MODEL, "wrk_a")
    change(services, lease_expires_at=clock.now() + timedelta(seconds=5))
    assert 0 < sweeper.pause(15.0) <= 5
    change(services, lease_expires_at=clock.now())
    assert sweeper.pause(15.0) == 0
    change(services, lease_expires_at=clock.now() - LONG_AGO)  # seen by the last sweep, and nobody took it
    assert sweeper.pause(15.0) == 15.0


def test_a_deletion_whose_workers_all_died_fails_and_its_files_go(services, sweeper):
    deletion_id = submit(services)
    leases = Leases(services.database, services.sealer, services.settings)
    for _ in range(3):
        claim = leases.claim(MODEL, "wrk_dead")
        change(services, lease_expires_at=clock.now() - LONG_AGO)
    assert leases.claim(MODEL, "wrk_next") is None
    services.store.put(deletion_id, claim.token, {"half": b"done"})
    sweeper.sweep()
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.error_code) == (Status.FAILED, "worker_lost")
    assert not (services.settings.artefacts / deletion_id).exists()
    assert services.deletions.retry(LOCAL, deletion_id).attempt == 0


def test_a_cancel_that_no_worker_is_left_to_hear_is_carried_out(services, sweeper):
    deletion_id = submit(services)
    Leases(services.database, services.sealer, services.settings).claim(MODEL, "wrk_dead")
    services.deletions.cancel(LOCAL, deletion_id)
    change(services, lease_expires_at=clock.now() - LONG_AGO)
    sweeper.sweep()
    assert services.deletions.get(LOCAL, deletion_id).status is Status.CANCELED


def test_one_process_sweeps_until_its_duty_expires(services, sweeper, bell):
    second = sweeper_of(services, bell)
    assert [sweeper.sweep(), second.sweep(), sweeper.sweep()] == [True, False, True]
    with services.database.write() as session:
        session.execute(update(Duty).values(expires_at=clock.now() - LONG_AGO))
    assert [second.sweep(), sweeper.sweep()] == [True, False]


def test_a_silent_worker_is_stopped_and_in_the_end_forgotten(services, sweeper):
    employ(services, "wrk_a")
    with services.database.write() as session:
        session.execute(update(WorkerProcess).values(heartbeat_at=clock.now() - LONG_AGO))
    assert services.workers.alive() == []
    sweeper.sweep()
    with services.database.read() as session:
        assert session.scalar(select(WorkerProcess.state)) is WorkerState.STOPPED
    with services.database.write() as session:
        session.execute(update(WorkerProcess).values(heartbeat_at=clock.now() - timedelta(days=2)))
    sweeper.sweep()
    assert services.workers.known() == []


def test_a_key_is_forgotten_when_its_time_is_over(services, sweeper):
    first = submit(services, "key")
    with services.database.write() as session:
        session.execute(update(IdempotencyKey).values(created_at=clock.now() - timedelta(days=2)))
    assert submit(services, "key") != first  # even before a sweep
    with services.database.write() as session:
        session.execute(update(IdempotencyKey).values(created_at=clock.now() - timedelta(days=2)))
    sweeper.sweep()
    with services.database.read() as session:
        assert session.scalar(select(func.count()).select_from(IdempotencyKey)) == 0


def test_a_broken_bell_stops_neither_the_sweep_nor_the_thread(services, sweeper, bell):
    deletion_id = submit(services)
    employ(services, "wrk_a")
    change(services, updated_at=clock.now() - LONG_AGO)
    bell.broken = True
    assert sweeper.sweep()
    thread = SweeperThread(sweeper, 0.05)
    thread.start()
    bell.broken = False
    assert bell.heard.wait(10)
    thread.stop()
    assert bell.rung[0] == deletion_id


def test_real_bells_reach_the_models_queue_one_after_the_other_without_being_acknowledged(services: Services):
    services.bell.check()
    rung = ["del_1", "del_2"]
    for deletion_id in rung:
        services.bell.ring(deletion_id, MODEL)
    again = wiring.build(services.settings)
    heard: list[str] = []
    with (
        again.bell._celery.connection_for_read() as connection,
        connection.Consumer(
            queue_of(MODEL), on_message=lambda message: heard.append(message.payload[0][0])
        ) as consumer,
    ):
        consumer.qos(prefetch_count=1)  # as a worker's: no second one while the first is unacknowledged
        while len(heard) < len(rung):
            connection.drain_events(timeout=5)
        assert heard == rung
    again.bell.close()
    again.database.close()
