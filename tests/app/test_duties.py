"""A duty has one owner at a time, whatever races for it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from time import sleep

from app import clock
from app.duties import held, take
from app.services import Services


def test_a_duty_is_its_owners_until_it_runs_out(services: Services):
    now = clock.now()
    assert take(services.database, "chore", "mine", now, 10)
    assert not take(services.database, "chore", "other", now + timedelta(seconds=9), 10)
    assert take(services.database, "chore", "mine", now + timedelta(seconds=9), 10)
    assert not take(services.database, "chore", "other", now + timedelta(seconds=11), 10)
    assert take(services.database, "chore", "other", now + timedelta(seconds=20), 10)


def test_threads_of_one_owner_that_make_a_duty_in_the_same_moment_all_have_it(services: Services):
    together = Barrier(4)

    def race(name: str) -> bool:
        together.wait(10)
        return take(services.database, name, "mine", clock.now(), 60)

    with ThreadPoolExecutor(4) as pool:
        for number in range(40):
            assert all(pool.map(race, [f"chore {number}"] * 4))


def test_of_many_owners_one_has_it(services: Services):
    with ThreadPoolExecutor(4) as pool:
        for number in range(10):
            name, now = f"chore {number}", clock.now()
            takes = pool.map(lambda owner, n=name, at=now: take(services.database, n, owner, at, 60), "abcd")
            assert sum(takes) == 1


def test_a_duty_that_is_held_is_renewed_until_the_end_and_then_given_back(services: Services):
    with held(services.database, "chore", "mine", 0.6) as mine:
        sleep(1.5)
        with held(services.database, "chore", "other", 60) as others:
            assert (mine, others) == (True, False)
    assert take(services.database, "chore", "other", clock.now(), 60)
