"""A worker that dies, stands still or is asked to end loses nothing, and nothing is published twice."""

import pytest

from tests.faults import kills
from tests.faults.conftest import RUNS
from tests.faults.points import POINTS, Action

SHORT = {  # what the short form does on each stack; the long form does everything on both
    "sqlite": ("claimed", "unlearning", "write-2", "stored"),
    "postgresql": ("views", "evaluation", "rename", "finishing", "finished"),
}


@pytest.fixture
def in_this_form(rig, point):
    if not RUNS and point not in SHORT["postgresql" if rig.settings.database_url else "sqlite"]:
        pytest.skip("in the long form")


@pytest.mark.usefixtures("in_this_form")
@pytest.mark.parametrize("turn", range(max(RUNS, 1)))
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_any_point_loses_nothing(rig, tell, point, turn):
    assert tell(kills.killed(rig, point)).clean


@pytest.mark.parametrize("turn", range(max(RUNS, 1)))
def test_an_adapter_torn_by_a_kill_is_never_published(rig, tell, turn):
    assert tell(kills.killed(rig, "write-2", Action.TEAR)).clean


@pytest.mark.parametrize("turn", range(max(RUNS, 1)))
@pytest.mark.parametrize("point", ["stored", "evaluation"] if RUNS else ["stored"])
def test_a_worker_that_stood_still_past_its_lease_does_not_publish(rig, tell, point, turn):
    assert tell(kills.stopped(rig, point)).clean


def test_without_the_fence_the_same_check_finds_two_publications(rig):
    try:
        assert kills.stopped(rig, "stored", FAULTS_UNFENCED="1").twice == 1
    finally:
        rig.dismiss()


@pytest.mark.parametrize("turn", range(max(RUNS, 1)))
def test_a_worker_asked_to_end_hands_its_run_back_at_once(rig, tell, turn):
    assert tell(kills.asked_to_end(rig)).clean
