"""The queue in the database: one winner per claim, a fence around every late worker, and nothing that is lost."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app import clock
from app.access import LOCAL
from app.errors import LeaseLost, RunCanceled
from app.leases import Completion, Leases
from app.models import AuditEvent, Deletion, Outcome, Stage, Status
from app.report import VerdictKind
from app.schemas import DeletionRequest
from app.services import Services
from app.transitions import TRANSITIONS, Event, progress
from tests.conftest import FRANCE, report_of

MODEL = FRANCE["model"]
DONE = Completion(Event.COMPLETE, Outcome.NOT_KNOWN, report_of(VerdictKind.NOT_KNOWN))


@pytest.fixture
def leases(services: Services) -> Leases:
    return Leases(services.database, services.sealer, services.settings)


def submit(services: Services) -> str:
    return services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE)).row.id


def expire(services: Services, deletion_id: str) -> None:
    """Let the lease run out, as silence does."""
    with services.database.write() as session:
        past = clock.now() - timedelta(seconds=1)
        session.execute(update(Deletion).where(Deletion.id == deletion_id).values(lease_expires_at=past))


def test_progress_runs_from_nothing_to_everything_and_never_back():
    walked = [progress(stage, fraction) for stage in Stage for fraction in (0, 0.5, 1)]
    assert walked == sorted(walked)
    assert (walked[0], walked[-1]) == (0.0, 1.0)
    assert progress(Stage.UNLEARNING, 7.0) == progress(Stage.COMPRESSION, -1.0)


def test_what_is_completed_stays_completed():
    assert not [move for move in TRANSITIONS if move[0] is Status.COMPLETED]
    assert {status for status, _ in TRANSITIONS} | {Status.COMPLETED} == set(Status)


def test_a_claim_opens_the_request_that_was_sealed(services: Services, leases: Leases):
    deletion_id = submit(services)
    claim = leases.claim(MODEL, "wrk_a")
    assert (claim.deletion_id, claim.token, claim.attempt) == (deletion_id, 1, 1)
    assert leases.request(claim).model_dump() == DeletionRequest.model_validate(FRANCE).model_dump()
    assert services.deletions.get(LOCAL, deletion_id).status is Status.RUNNING


def test_the_oldest_goes_first_and_only_to_workers_of_its_model(services: Services, leases: Leases):
    first, second = submit(services), submit(services)
    assert leases.claim("another-model", "wrk_a") is None
    assert [leases.claim(MODEL, "wrk_a").deletion_id for _ in range(2)] == [first, second]
    assert leases.claim(MODEL, "wrk_a") is None


def test_of_many_claims_at_once_exactly_one_wins_each_deletion(services: Services, leases: Leases):
    made = {submit(services) for _ in range(4)}
    together = threading.Barrier(16)

    def claim(number: int):
        together.wait()
        return leases.claim(MODEL, f"wrk_{number}")

    with ThreadPoolExecutor(16) as pool:
        won = [taken.deletion_id for taken in pool.map(claim, range(16)) if taken is not None]
    while len(won) < 4 and (taken := leases.claim(MODEL, "wrk_late")):  # whom SKIP LOCKED sent away comes again
        won.append(taken.deletion_id)
    assert sorted(won) == sorted(made)


def test_a_lease_that_is_renewed_is_not_taken_over(services: Services, leases: Leases):
    deletion_id = submit(services)
    claim = leases.claim(MODEL, "wrk_a")
    expire(services, deletion_id)
    leases.renew(claim, Stage.UNLEARNING, 0.5)
    assert leases.claim(MODEL, "wrk_b") is None
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.stage, row.progress) == (Stage.UNLEARNING, progress(Stage.UNLEARNING, 0.5))


def test_a_silent_workers_deletion_goes_to_the_next_and_the_late_one_is_fenced_off(services: Services, leases: Leases):
    deletion_id = submit(services)
    late = leases.claim(MODEL, "wrk_late")
    expire(services, deletion_id)
    next_one = leases.claim(MODEL, "wrk_next")
    assert (next_one.deletion_id, next_one.token, next_one.attempt) == (deletion_id, 2, 2)
    for write in (
        lambda: leases.renew(late),
        lambda: leases.finish(late, DONE),
        lambda: leases.fail(late, "x", "x"),
        lambda: leases.canceled(late),
        lambda: leases.release(late),
        lambda: leases.postpone(late, "x"),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert services.deletions.get(LOCAL, deletion_id).status is Status.RUNNING
    leases.finish(next_one, DONE)
    with pytest.raises(LeaseLost):
        leases.finish(late, DONE)
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.outcome, row.progress) == (Status.COMPLETED, Outcome.NOT_KNOWN, 1.0)


def test_a_late_worker_cannot_touch_what_was_retried_and_waits_again(services: Services, leases: Leases):
    deletion_id = submit(services)
    late = leases.claim(MODEL, "wrk_late")
    leases.fail(late, "x", "x")
    services.deletions.retry(LOCAL, deletion_id)
    with pytest.raises(LeaseLost):
        leases.finish(late, DONE)
    assert services.deletions.get(LOCAL, deletion_id).status is Status.QUEUED


def test_a_cancel_is_heard_at_the_next_renewal_and_at_the_very_end(services: Services, leases: Leases):
    deletion_id = submit(services)
    claim = leases.claim(MODEL, "wrk_a")
    services.deletions.cancel(LOCAL, deletion_id)
    with pytest.raises(RunCanceled):
        leases.renew(claim)
    with pytest.raises(RunCanceled):
        leases.finish(claim, DONE)
    leases.canceled(claim)
    assert services.deletions.get(LOCAL, deletion_id).status is Status.CANCELED


def test_a_released_deletion_can_be_claimed_at_once_and_its_run_does_not_count(services: Services, leases: Leases):
    submit(services)
    leases.release(leases.claim(MODEL, "wrk_a"))
    claim = leases.claim(MODEL, "wrk_b")
    assert (claim.attempt, claim.token) == (1, 2)


@pytest.mark.parametrize("how", ["release", "postpone", "defer"])
def test_a_run_that_is_given_back_after_it_was_canceled_ends(services: Services, leases: Leases, how: str):
    deletion_id = submit(services)
    claim = leases.claim(MODEL, "wrk_a")
    services.deletions.cancel(LOCAL, deletion_id)
    given = {"release": (), "postpone": ("It broke.",), "defer": ("no_disk_space", "No room.")}[how]
    getattr(leases, how)(claim, *given)
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.cancel_requested, row.lease_expires_at) == (Status.CANCELED, False, None)
    assert row.finished_at is not None
    assert leases.claim(MODEL, "wrk_b") is None


def test_a_postponed_deletion_waits_and_fails_when_its_runs_are_spent(services: Services, leases: Leases):
    settings = services.settings.model_copy(update={"backoff_seconds": 3600.0})
    patient = Leases(services.database, services.sealer, settings)
    deletion_id = submit(services)
    assert patient.postpone(patient.claim(MODEL, "wrk_a"), "It broke.")
    assert patient.claim(MODEL, "wrk_a") is None
    with services.database.write() as session:
        session.execute(update(Deletion).values(not_before=clock.now()))
    assert leases.postpone(leases.claim(MODEL, "wrk_a"), "It broke.")
    assert not leases.postpone(leases.claim(MODEL, "wrk_a"), "It broke.")
    row = services.deletions.get(LOCAL, deletion_id)
    assert (row.status, row.attempt, row.error_code, row.error_message) == (
        Status.FAILED, 3, "internal_error", "It broke.",
    )  # fmt: skip


def test_every_step_leaves_an_audit_event(services: Services, leases: Leases):
    deletion_id = submit(services)
    leases.finish(leases.claim(MODEL, "wrk_a"), DONE)
    with services.database.read() as session:
        events = session.scalars(select(AuditEvent).order_by(AuditEvent.id)).all()
    assert [(event.actor, event.action) for event in events] == [
        ("local", "deletion.accepted"), ("wrk_a", "deletion.claimed"), ("wrk_a", "deletion.completed"),
    ]  # fmt: skip
    assert {event.deletion_id for event in events} == {deletion_id}
