"""What the service leans on may fail: broker, database, disk, and the API itself; nothing accepted is lost."""

import socket
import threading
from contextlib import suppress

import pytest

from tests.faults import outages
from tests.faults.broker import Folder
from tests.faults.conftest import RUNS
from tests.faults.points import WRITES
from tests.faults.proxy import Proxy

turns = pytest.mark.parametrize("turn", range(max(RUNS, 1)))


@turns
def test_an_emptied_broker_loses_nothing(rig, tell, turn):
    broker = rig.redis or Folder(rig.settings.broker_dir)
    assert tell(outages.broker_emptied(rig, broker)).clean


@turns
def test_a_killed_broker_loses_nothing_and_deletions_are_accepted_without_it(rig, tell, turn):
    if rig.redis is None:
        pytest.skip("a folder cannot be killed")
    assert tell(outages.broker_killed(rig, rig.redis)).clean


@turns
def test_a_broker_restarted_under_an_idle_worker_loses_nothing(rig, tell, turn):
    if rig.redis is None:
        pytest.skip("a folder cannot be killed")
    assert tell(outages.broker_restarted(rig, rig.redis)).clean


@turns
def test_a_broker_restarted_under_a_run_loses_nothing(rig, tell, turn):
    if rig.redis is None:
        pytest.skip("a folder cannot be killed")
    assert tell(outages.broker_restarted_under_a_run(rig, rig.redis)).clean


@turns
@pytest.mark.parametrize("point", ["claimed", "stored", "finishing"] if RUNS else ["stored"])
def test_resets_of_the_database_lose_nothing(rig, tell, point, turn):
    if rig.proxy is None:
        pytest.skip("SQLite has no connections to reset")
    assert tell(outages.database_reset(rig, rig.proxy, point)).clean


@turns
def test_a_slow_database_loses_nothing(rig, tell, turn):
    if rig.proxy is None:
        pytest.skip("SQLite has no network to be slow")
    assert tell(outages.database_slow(rig, rig.proxy)).clean


@turns
def test_a_database_out_of_reach_for_longer_than_a_lease_loses_nothing(rig, tell, turn):
    if rig.proxy is None:
        assert tell(outages.database_locked(rig)).clean
    else:
        assert tell(outages.database_away(rig, rig.proxy)).clean


@turns
@pytest.mark.parametrize("point", WRITES if RUNS else ["write-2"])
def test_a_full_disk_is_told_and_waited_for(rig, tell, point, turn):
    assert tell(outages.disk_full(rig, point)).clean


@turns
def test_of_fifty_parallel_identical_posts_one_makes_a_row(rig, tell, turn):
    assert tell(outages.twins(rig)).clean


@turns
def test_an_api_killed_while_accepting_keeps_what_it_accepted(rig, tell, turn):
    assert tell(outages.api_killed(rig)).clean


def test_the_proxy_passes_resets_and_refuses():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while heard := connection.recv(10):
                    connection.sendall(heard)

        def listen() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=listen, daemon=True).start()
        proxy = Proxy(*server.getsockname())
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as through:
            through.sendall(b"hello")
            assert through.recv(10) == b"hello"
            assert proxy.reset() == 1
            with pytest.raises(ConnectionResetError):
                through.recv(10)
        proxy.refusing = True
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as through:
            assert through.recv(10) == b""
        proxy.stop()
