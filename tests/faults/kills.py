"""Faults of a worker: killed at a point, stopped past its lease, asked to end."""

import os
import signal
import time

from app.models import Status
from tests.faults.points import Action
from tests.faults.rig import Rig, eventually, sleeping
from tests.faults.tally import Tally, count, taken_up_again


def killed(rig: Rig, point: str, action: Action = Action.KILL, what: str = "worker killed") -> Tally:
    """SIGKILL at a point; another worker stands by."""
    rig.points.clear()
    rig.await_idle(2)
    rig.points.arm(point, action)
    (deletion_id,) = rig.submit()
    pid, at = rig.await_struck(point)
    eventually(lambda: any(worker.pid == pid and worker.poll() is not None for worker in rig.workers), "dead")
    rig.staff(2)
    rig.await_status(deletion_id, Status.COMPLETED)
    waited = 0.0 if point == "finished" else taken_up_again(rig, deletion_id, at)
    rig.await_idle(2)  # what the dead one left behind has been cleared away
    return count(rig, f"{what}: {point}", [deletion_id], waited)


def killed_after(rig: Rig, seconds: float, what: str) -> Tally:
    """SIGKILL so long after the claim, wherever the run is by then; another worker stands by."""
    rig.points.clear()
    rig.await_idle(2)
    (deletion_id,) = rig.submit()
    rig.await_status(deletion_id, Status.RUNNING, Status.COMPLETED)
    time.sleep(seconds)
    at, pid = time.time(), rig.holder(deletion_id)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: any(worker.pid == pid and worker.poll() is not None for worker in rig.workers), "dead")
    rig.staff(2)
    row = rig.await_status(deletion_id, Status.COMPLETED)
    waited = taken_up_again(rig, deletion_id, at) if row.attempt > 1 else 0.0  # else the run was faster
    rig.await_idle(2)
    return count(rig, what, [deletion_id], waited)


def stopped(rig: Rig, point: str, **more: str) -> Tally:
    """SIGSTOP at a point until another worker has finished, then SIGCONT: the late one must not publish.

    Args:
        more: environment of the workers.
    """
    rig.points.clear()
    if more:
        rig.dismiss()
        rig.start_worker(**more)
        rig.start_worker(**more)
    rig.await_idle(2)
    rig.points.arm(point, Action.STOP)
    (deletion_id,) = rig.submit()
    pid, at = rig.await_struck(point)
    eventually(lambda: sleeping(pid), "stopped")
    rig.await_status(deletion_id, Status.COMPLETED)
    waited = taken_up_again(rig, deletion_id, at)
    os.kill(pid, signal.SIGCONT)
    rig.await_idle(2)  # the late one has come to its end
    return count(rig, "worker stopped past its lease, then continued", [deletion_id], waited)


def asked_to_end(rig: Rig, point: str = "unlearning") -> Tally:
    """SIGTERM in the middle of a run: handed back at once, taken by the other worker, and not counted as a run."""
    rig.points.clear()
    rig.await_idle(2)
    rig.points.arm(point, Action.HOLD)
    (deletion_id,) = rig.submit()
    pid, _ = rig.await_struck(point)
    at = time.time()
    os.kill(pid, signal.SIGTERM)
    row = rig.await_status(deletion_id, Status.COMPLETED)  # while the first still holds, deaf to everything
    rig.points.clear()
    eventually(lambda: any(worker.pid == pid and worker.poll() == 0 for worker in rig.workers), "ended")
    assert row.attempt == 1, "a run that was handed back was counted"
    rig.await_idle(2)
    return count(rig, "worker asked to end (SIGTERM)", [deletion_id], taken_up_again(rig, deletion_id, at))
