"""The service under fault, and the table of what became of it."""

import base64
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from app.settings import Settings
from tests.conftest import empty
from tests.faults.broker import RedisServer
from tests.faults.proxy import Proxy
from tests.faults.rig import Rig, quick
from tests.faults.tally import Tally

RUNS = int(os.environ.get("FAULT_RUNS", "0"))  # of each fault; 0: the short form
_TALLIES: dict[str, Tally] = {}


@pytest.fixture(scope="session")
def tell() -> Callable[[Tally], Tally]:
    """Adds a tally to the table that is printed at the end."""

    def add(tally: Tally) -> Tally:
        known = _TALLIES.get(tally.fault)
        _TALLIES[tally.fault] = known + tally if known else tally
        return tally

    return add


@pytest.fixture(scope="module", params=["sqlite+filesystem", "postgresql+redis"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A running service on each pair of database and broker, kept for all faults of a file."""
    data: Path = tmp_path_factory.mktemp("rig") / "data"
    data.mkdir(mode=0o700)
    if request.param == "sqlite+filesystem":
        (data / "r2f.db").write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        made = Rig(quick(Settings(data_dir=data)))
    else:
        made = _clustered(data, request.getfixturevalue("postgres_url"))
    try:
        for _ in range(2):
            made.start_api()
        yield made
    finally:
        made.stop()
        if made.proxy is not None:
            empty(request.getfixturevalue("postgres_url"))


def _clustered(data: Path, url: str) -> Rig:
    """PostgreSQL behind a proxy, and a Redis of our own."""
    server, redis = make_url(url), RedisServer(data)
    proxy = Proxy(server.host or "127.0.0.1", server.port or 5432)
    settings = Settings(
        data_dir=data,
        database_url=server.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False),
        broker_url=redis.url,
        master_key=SecretStr(base64.b64encode(secrets.token_bytes(32)).decode()),
    )
    return Rig(quick(settings), directly=url, redis=redis, proxy=proxy)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if not _TALLIES:
        return
    terminalreporter.section("faults")
    head = f"{'fault':<52}{'runs':>6}{'accepted':>10}{'lost':>6}{'twice':>7}{'torn':>6}{'recovery':>10}{'bound':>7}"
    terminalreporter.line(head)
    for tally in _TALLIES.values():
        took = "" if tally.recovery is None else f"{tally.recovery:.2f} s"
        bound = "" if tally.bound is None else f"{tally.bound:g} s"
        terminalreporter.line(
            f"{tally.fault:<52}{tally.runs:>6}{tally.accepted:>10}{tally.lost:>6}{tally.twice:>7}{tally.torn:>6}"
            f"{took:>10}{bound:>7}"
        )
