"""Whatever callers, workers, sweepers and time do in whatever order: nothing accepted is lost or published twice."""

import hashlib
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile_of
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from sqlalchemy import select, update

from app import clock
from app import leases as fencing
from app.access import LOCAL
from app.errors import LeaseLost, NotPurgeable, NotRetryable, Problem, RunCanceled
from app.leases import Claim, Completion, Leases, claimable
from app.models import Artefact, ArtefactKind, Deletion, Outcome, Status
from app.report import VerdictKind
from app.schemas import DeletionRequest
from app.services import build
from app.settings import Settings
from app.transitions import Event
from tests.conftest import FRANCE, empty, report_of
from tests.faults.conftest import RUNS

MODEL = FRANCE["model"]
REQUEST = DeletionRequest.model_validate(FRANCE)
FINISHED = {Status.COMPLETED, Status.NEEDS_REVIEW, Status.FAILED, Status.CANCELED}
PUBLISHED = {Status.COMPLETED, Status.NEEDS_REVIEW}


class Queue(RuleBasedStateMachine):
    """Callers, operators, any number of workers of which each may be dead or late, sweepers, and time."""

    ids = Bundle("ids")
    claims = Bundle("claims")  # every one ever made: whoever holds an old one is a late worker

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        empty(settings.database)
        self.services = services = build(settings)
        self.leases = Leases(services.database, services.sealer, services.settings)
        self.accepted: list[str] = []
        self.publications: dict[str, int] = {}

    @rule(target=ids, key=st.sampled_from([None, "a", "b"]))
    def submit(self, key: str | None) -> str:
        accepted = self.services.deletions.submit(LOCAL, REQUEST, key)
        assert accepted.created or key is not None
        if accepted.created:
            self.accepted.append(accepted.row.id)
        assert accepted.row.id in self.accepted
        return accepted.row.id

    @rule(target=claims, worker=st.sampled_from(["wrk_a", "wrk_b", "wrk_c"]))
    def claim(self, worker: str) -> Claim | None:
        return self.leases.claim(MODEL, worker)

    @rule(claim=claims)
    def renew(self, claim: Claim | None) -> None:
        self._as_worker(claim, lambda mine: self.leases.renew(mine))

    @rule(claim=claims)
    def store(self, claim: Claim | None) -> None:
        """Files are written before the end is recorded; what is killed here leaves them behind."""
        if claim is not None and self._is_mine(claim):
            self._put(claim)

    @rule(claim=claims, passed=st.booleans())
    def finish(self, claim: Claim | None, passed: bool) -> None:
        """At its time or long after it."""
        self._as_worker(claim, lambda mine: self._publish(mine, passed))

    @rule(claim=consumes(claims), how=st.sampled_from(["fail", "release", "postpone", "defer"]))
    def give_up(self, claim: Claim | None, how: str) -> None:
        ways = {
            "fail": lambda mine: self.leases.fail(mine, "x", "x"),
            "release": self.leases.release,
            "postpone": lambda mine: self.leases.postpone(mine, "x"),
            "defer": lambda mine: self.leases.defer(mine, "x", "x"),
        }
        self._as_worker(claim, ways[how])

    @rule(deletion_id=ids, how=st.sampled_from(["cancel", "retry", "approve", "reject"]))
    def decide(self, deletion_id: str, how: str) -> None:
        try:
            getattr(self.services.deletions, how)(LOCAL, deletion_id)
        except Problem:  # not in this state
            return
        if how == "retry":
            self.publications[deletion_id] = 0

    @rule(deletion_id=ids)
    def purge(self, deletion_id: str) -> None:
        """Only what has ended; from then on no worker gets it, and nobody can ask for another run."""
        try:
            row = self.services.deletions.purge(LOCAL, deletion_id)
        except NotPurgeable:
            return
        assert row.status in FINISHED
        assert row.wrapped_key is None
        with pytest.raises(NotRetryable):
            self.services.deletions.retry(LOCAL, deletion_id)

    @invariant()
    def what_may_run_can_be_read(self) -> None:
        with self.services.database.read() as session:
            rows = list(session.scalars(select(Deletion).where(claimable(clock.now(), 3))))
        assert all(row.wrapped_key is not None for row in rows)

    @rule(deletion_id=ids)
    def expire(self, deletion_id: str) -> None:
        """Its worker is killed, or slower than its lease."""
        self._change(deletion_id, lease_expires_at=clock.now() - timedelta(seconds=1))

    @rule()
    def sweep(self) -> None:
        for deletion_id, token in self.leases.end_orphans(clock.now()):
            self.services.store.delete(deletion_id, below=token + 1)

    @invariant()
    def nothing_accepted_is_lost(self) -> None:
        """Finished, claimable, in a worker's hands, or about to be ended by the sweeper."""
        now = clock.now()
        with self.services.database.read() as session:
            rows = {row.id: row for row in session.scalars(select(Deletion))}
            free = set(session.scalars(select(Deletion.id).where(claimable(now, 3))))
        for one in self.accepted:
            row = rows[one]
            held = row.status is Status.RUNNING and row.lease_expires_at is not None
            assert row.status in FINISHED or one in free or held

    @invariant()
    def nothing_is_published_twice(self) -> None:
        assert all(times <= 1 for times in self.publications.values())

    @invariant()
    def what_is_published_is_whole(self) -> None:
        with self.services.database.read() as session:
            rows = list(session.scalars(select(Deletion).where(Deletion.outcome == Outcome.FORGOTTEN)))
            for row in rows:
                files = list(session.scalars(select(Artefact).where(Artefact.deletion_id == row.id)))
                assert {file.lease_token for file in files} == {row.lease_token}
                for file in files:
                    content = b"".join(self.services.store.read(file.path, 0, file.size))
                    assert hashlib.sha256(content).hexdigest() == file.sha256

    def teardown(self) -> None:
        """Every worker is dead; a new one works off what is left."""
        for one in self.accepted:
            self._change(one, lease_expires_at=clock.now() - timedelta(seconds=1))
        self.sweep()
        while (claim := self.leases.claim(MODEL, "wrk_last")) is not None:
            self._as_worker(claim, lambda mine: self._publish(mine, passed=True))
        with self.services.database.read() as session:
            ended = {row.id: row.status for row in session.scalars(select(Deletion))}
        assert {ended.get(one) for one in self.accepted} <= FINISHED
        self.nothing_is_published_twice()
        self.what_is_published_is_whole()
        self.services.bell.close()
        self.services.database.close()

    def _as_worker(self, claim: Claim | None, act) -> None:
        """Do it as `worker.running` does: a cancel is carried out, and what a lost lease has written goes."""
        if claim is None:
            return
        try:
            act(claim)
        except RunCanceled:
            self.leases.canceled(claim)
        except LeaseLost:
            assert not self._is_mine(claim)
            if not self.leases.recorded(claim):
                self.services.store.delete(claim.deletion_id, below=claim.token + 1)

    def _publish(self, claim: Claim, passed: bool) -> None:
        stored = self._put(claim)
        event, outcome = (Event.COMPLETE, Outcome.FORGOTTEN) if passed else (Event.REVIEW, None)
        kind = VerdictKind.PASSED if passed else VerdictKind.MISSED
        files = [(ArtefactKind.ADAPTER, stored)]
        self.leases.finish(claim, Completion(event, outcome, report_of(kind), files))
        self.services.store.delete(claim.deletion_id, below=claim.token)
        self.publications[claim.deletion_id] = self.publications.get(claim.deletion_id, 0) + 1

    def _put(self, claim: Claim):
        (stored,) = self.services.store.put(claim.deletion_id, claim.token, {"adapter.zip": str(claim).encode()})
        return stored

    def _is_mine(self, claim: Claim) -> bool:
        row = self.services.deletions.get(LOCAL, claim.deletion_id)
        return row.status is Status.RUNNING and row.lease_token == claim.token

    def _change(self, deletion_id: str, **values) -> None:
        with self.services.database.write() as session:
            held = Deletion.lease_expires_at.is_not(None)
            session.execute(update(Deletion).where(Deletion.id == deletion_id, held).values(**values))


def profile(examples: int, **more) -> profile_of:
    return profile_of(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        database=None,
        derandomize=not RUNS,
        suppress_health_check=list(HealthCheck),
        **more,
    )


def test_no_order_of_events_loses_or_doubles_anything(settings: Settings):
    run_state_machine_as_test(lambda: Queue(settings), settings=profile(RUNS * 25 or 12))


@pytest.mark.parametrize("settings", ["sqlite+filesystem"], indirect=True)
def test_without_the_fence_the_machine_finds_an_order_that_does(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fencing, "_mine", lambda claim: update(Deletion).where(Deletion.id == claim.deletion_id))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(lambda: Queue(settings), settings=profile(400, phases=[Phase.generate]))
