"""Faults of what the service leans on: broker, database, disk; and of the API itself."""

import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import httpx
from sqlalchemy import func, make_url, select

from app.models import Deletion, Status
from tests.conftest import FRANCE
from tests.faults.broker import Broker, RedisServer
from tests.faults.points import Action
from tests.faults.proxy import Proxy
from tests.faults.rig import Rig, eventually
from tests.faults.tally import Tally, count, taken_up_again

AWAY = {503}  # what a caller may be told while the database is away


def broker_emptied(rig: Rig, broker: Broker) -> Tally:
    """Every bell is lost while the worker is busy."""
    held = _hold(rig, "unlearning")
    waiting = rig.submit(2)
    broker.flush()
    at = time.time()
    rig.points.clear()
    _complete(rig, held, *waiting)
    return count(rig, "broker emptied", [held, *waiting], taken_up_again(rig, waiting[0], at))


def broker_killed(rig: Rig, broker: RedisServer) -> Tally:
    """Away in the middle of a run and while deletions are posted; it comes back empty."""
    held = _hold(rig, "unlearning")
    broker.stop()
    posted = rig.submit(2)
    rig.points.clear()
    rig.await_status(held, Status.COMPLETED)  # a run needs no broker
    broker.start()
    at = time.time()
    _complete(rig, *posted)
    return count(rig, "broker killed and started again", [held, *posted], taken_up_again(rig, posted[0], at))


def broker_restarted(rig: Rig, broker: RedisServer) -> Tally:
    """Killed and started again while the worker has nothing to do."""
    rig.points.clear()
    rig.await_idle(1)
    broker.stop()
    broker.start()
    at = time.time()
    posted = rig.submit()
    _complete(rig, *posted)
    return count(rig, "broker restarted under an idle worker", posted, taken_up_again(rig, posted[0], at))


def broker_restarted_under_a_run(rig: Rig, broker: RedisServer) -> Tally:
    """Killed and started again in the middle of a run, with deletions posted before, in between and after."""
    held = _hold(rig, "unlearning")
    before = rig.submit()
    broker.stop()
    between = rig.submit()
    broker.start()
    posted = [*before, *between, *rig.submit()]
    at = time.time()
    rig.points.clear()
    _complete(rig, held, *posted)
    return count(rig, "broker restarted under a run", [held, *posted], taken_up_again(rig, posted[0], at))


def database_reset(rig: Rig, proxy: Proxy, point: str) -> Tally:
    """Every connection is aborted at a point of a run, and again and again while deletions are posted."""
    held = _hold(rig, point)
    with _storm(proxy):
        posted = post_through(rig, 8)
        rig.points.clear()
    _complete(rig, held, *posted)
    return count(rig, f"database connections reset: {point}", [held, *posted])


def database_slow(rig: Rig, proxy: Proxy, latency: float = 0.05) -> Tally:
    """Everything that goes to and from the database takes longer."""
    rig.points.clear()
    rig.await_idle(1)
    proxy.latency = latency
    try:
        posted = post_through(rig, 4)
        _complete(rig, *posted)
    finally:
        proxy.latency = 0.0
    return count(rig, f"database slower by {2 * latency * 1000:.0f} ms", posted)


def database_away(rig: Rig, proxy: Proxy) -> Tally:
    """Away for longer than a lease, while a run comes to its end."""
    held = _hold(rig, "stored")
    proxy.refusing = True
    proxy.reset()
    try:
        rig.points.clear()
        time.sleep(rig.settings.lease_seconds * 1.5)
    finally:
        proxy.refusing = False
    at = time.time()
    _complete(rig, held, *rig.submit())
    return count(rig, "database away longer than a lease", [held], taken_up_again(rig, held, at))


def database_locked(rig: Rig) -> Tally:
    """SQLite: another process keeps the write lock for longer than a lease."""
    held = _hold(rig, "stored")
    locked = sqlite3.connect(make_url(rig.settings.database).database or "", isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    rig.points.clear()
    with ThreadPoolExecutor() as pool:
        posting = pool.submit(post_through, rig, 2)
        time.sleep(rig.settings.lease_seconds * 1.5)
        locked.execute("COMMIT")
        posted = posting.result()
    locked.close()
    _complete(rig, held, *posted)
    return count(rig, "database locked longer than a lease", [held, *posted])


def disk_full(rig: Rig, point: str) -> Tally:
    """No space left at a write: told, nothing half written stays, and with room again it completes by itself."""
    rig.points.clear()
    rig.await_idle(1)
    rig.points.arm(point, Action.FULL)
    (deletion_id,) = rig.submit()
    _, at = rig.await_struck(point)
    _complete(rig, deletion_id)
    assert len(rig.events(deletion_id, "deletion.deferred")) == 1
    assert rig.row(deletion_id).attempt == 1, "a run that found no room was counted"
    return count(rig, f"disk full: {point}", [deletion_id], taken_up_again(rig, deletion_id, at))


def twins(rig: Rig, callers: int = 50) -> Tally:
    """The same request from many callers at once, over every API process: one row."""
    rig.points.clear()
    rig.await_idle(1)
    key, together = f"twin-{uuid4().hex}", threading.Barrier(callers)

    def post(number: int) -> str:
        together.wait()
        while True:
            answer = httpx.post(
                f"{rig.urls[number % len(rig.urls)]}/deletions",
                json=FRANCE,
                headers={"Idempotency-Key": key},
                timeout=60,
            )
            if answer.status_code != 409:  # the first is being written at this moment
                answer.raise_for_status()
                return str(answer.json()["id"])
            time.sleep(0.05)

    before = _rows(rig)
    with ThreadPoolExecutor(callers) as pool:
        ids = set(pool.map(post, range(callers)))
    assert (len(ids), _rows(rig) - before) == (1, 1)
    _complete(rig, *ids)
    return count(rig, f"{callers} parallel identical POSTs", ids)


def api_killed(rig: Rig) -> Tally:
    """SIGKILL of the API while deletions are posted: what it said 202 to is there."""
    rig.points.clear()
    rig.await_idle(1)
    made: list[str] = []

    def post() -> None:
        with httpx.Client(base_url=rig.urls[-1], timeout=30) as caller:
            while True:
                try:
                    answer = caller.post("/deletions", json=FRANCE)
                except httpx.HTTPError:  # it is dead
                    return
                if answer.status_code == 202:
                    made.append(answer.json()["id"])

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(post)
        eventually(lambda: len(made) >= 10, "some accepted")
        rig.apis[-1].kill()
    rig.start_api()
    _complete(rig, *made)
    return count(rig, "API killed while accepting", made)


def post_through(rig: Rig, wanted: int) -> list[str]:
    """Post until that many were accepted; while the database is away a 503 is right, and nothing else is."""
    made: list[str] = []

    def accept() -> bool:
        answer = httpx.post(f"{rig.urls[-1]}/deletions", json=FRANCE, timeout=60)
        assert answer.status_code in {202, *AWAY}, answer.text
        if answer.status_code == 202:
            made.append(answer.json()["id"])
        return len(made) == wanted

    eventually(accept, f"{wanted} accepted")
    return made


def _hold(rig: Rig, point: str) -> str:
    """A deletion whose worker, the only one, waits at a point."""
    rig.points.clear()
    rig.dismiss()
    rig.await_idle(1)
    rig.points.arm(point, Action.HOLD)
    (deletion_id,) = rig.submit()
    rig.await_struck(point)
    return deletion_id


def _complete(rig: Rig, *ids: str) -> None:
    rig.staff(1)
    for deletion_id in ids:
        rig.await_status(deletion_id, Status.COMPLETED)
    rig.await_idle(1)


def _rows(rig: Rig) -> int:
    with rig.database.read() as session:
        return session.scalar(select(func.count()).select_from(Deletion)) or 0


@contextmanager
def _storm(proxy: Proxy) -> Iterator[None]:
    """Abort every connection several times a second, then ever less often, so that a slow machine gets through too."""
    over, moments = threading.Event(), random.Random(0)

    def blow() -> None:
        calm = 1.0
        while not over.wait(moments.uniform(0.05, 0.5) * calm):
            proxy.reset()
            calm *= 1.02

    thread = threading.Thread(target=blow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
