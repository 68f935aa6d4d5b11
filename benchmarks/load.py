"""How the API answers under a steady load: one API process, a worker beside it, callers at a fixed rate.

    python -m benchmarks.load [--seconds 600] [--rate 50] [--on sqlite postgresql] [--local]

Requests fall due at even intervals, whether or not earlier ones have been answered, and a request's time counts from
when it was due: a server that stalls cannot hide it. Half of them are POSTs, a quarter reads of one deletion, a quarter
lists. As callers of a cluster do, each shows an API key, and each POST has an Idempotency-Key; with --local they come
as those on the service's own machine may, with neither. They call through aiohttp, which computes less than httpx on
the cores that it shares with what is measured. The worker is the real one around a pipeline that computes nothing
(`benchmarks/load_worker.py`). PostgreSQL is reached at R2F_TEST_POSTGRES, in a database of its own; its broker is a
Redis that is started for the run.
"""

import argparse
import asyncio
import base64
import json
import os
import platform
import random
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil
import psycopg
from pydantic import SecretStr
from sqlalchemy import make_url

from app.access import Scope
from app.database import migrate
from app.keys import Keys
from app.records import open_records
from app.settings import Settings
from app.supervisor import terminable
from tests.conftest import FRANCE, POSTGRES
from tests.faults.broker import RedisServer
from tests.faults.rig import Rig

MIX = ("POST", "GET", "POST", "list")
REACH = {"sqlite": 25.0, "postgresql": 15.0}  # p95 of a POST, milliseconds
WARM_UP = 20  # requests of each kind that are not counted: they compile statements and open connections
MOMENTS = 10  # of the run at which memory is shown


@dataclass(frozen=True)
class Answer:
    """One request as its caller saw it; `status` is 0 if no answer came."""

    kind: str
    milliseconds: float
    status: int

    @property
    def wrong(self) -> bool:
        """Whether it is anything but what was asked for."""
        return self.status != (202 if self.kind == "POST" else 200)


@dataclass
class Load:
    """What was seen of one run: answers, and the memory (bytes) of API and worker, once a second.

    `processor`: seconds that the API process computed.
    """

    database: str
    seconds: float = 0.0
    processor: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    api: list[int] = field(default_factory=list)
    worker: list[int] = field(default_factory=list)


class LoadRig(Rig):
    """The service with the worker that computes nothing."""

    worker_module = "benchmarks.load_worker"


class Callers:
    """Concurrent callers of one API."""

    def __init__(self, client: aiohttp.ClientSession, *, local: bool = False) -> None:
        self._client = client
        self._local = local
        self._made: list[str] = []
        self._choice = random.Random(0)

    async def call(self, kind: str, due: float) -> Answer:
        """One request that was due at that moment (seconds of the monotonic clock)."""
        try:
            async with self._request(kind) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return Answer(kind, (time.monotonic() - due) * 1000, 0)
        took = (time.monotonic() - due) * 1000
        if answer.status == 202:
            self._made.append(json.loads(body)["id"])
        return Answer(kind, took, answer.status)

    def _request(self, kind: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if kind == "POST":
            headers = {} if self._local else {"Idempotency-Key": secrets.token_hex(16)}
            return self._client.post("/deletions", json=FRANCE, headers=headers)
        if kind == "GET":
            return self._client.get(f"/deletions/{self._choice.choice(self._made)}")
        return self._client.get("/deletions")

    async def load(self, seconds: float, rate: float) -> list[Answer]:
        """Call at an even rate (requests per second)."""
        for kind in dict.fromkeys(MIX):
            for _ in range(WARM_UP):
                await self.call(kind, time.monotonic())
        began, calls = time.monotonic(), []
        for number in range(round(seconds * rate)):
            due = began + number / rate
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            calls.append(asyncio.create_task(self.call(MIX[number % len(MIX)], due)))
        return list(await asyncio.gather(*calls))


def key_of(settings: Settings) -> dict[str, str]:
    """The headers of a caller with a key of its own."""
    records = open_records(settings)
    made = Keys(records.database, records.sealer).create("load", "load", frozenset(Scope))
    records.database.close()
    return {"Authorization": f"Bearer {made.token}"}


def measure(
    settings: Settings,
    name: str,
    seconds: float,
    rate: float,
    redis: RedisServer | None = None,
    *,
    local: bool = False,
) -> Load:
    """Put a migrated, empty service under load."""
    rig, load = LoadRig(settings, redis=redis), Load(name)
    try:
        url = rig.start_api()
        rig.await_idle(1)
        headers = {} if local else key_of(settings)  # from now on nobody without a key is told of the workers
        watched = (psutil.Process(rig.apis[0].pid), load.api), (psutil.Process(rig.workers[0].pid), load.worker)

        async def watch() -> None:
            while True:
                for process, seen in watched:
                    seen.append(process.memory_info().rss)
                await asyncio.sleep(1)

        async def run() -> list[Answer]:
            patience = aiohttp.ClientTimeout(total=30)
            async with aiohttp.ClientSession(url, headers=headers, timeout=patience) as client:
                watching = asyncio.create_task(watch())
                answers = await Callers(client, local=local).load(seconds, rate)
                watching.cancel()
                return answers

        api, began = psutil.Process(rig.apis[0].pid), time.monotonic()
        before = sum(api.cpu_times()[:2])
        load.answers = asyncio.run(run())
        load.seconds, load.processor = time.monotonic() - began, sum(api.cpu_times()[:2]) - before
    finally:
        rig.stop()
    return load


def table(load: Load) -> str:
    """The run in Markdown: a row for each kind of request, and memory over time."""
    lines = [
        f"| {load.database} | requests | per second | p50 ms | p95 ms | p99 ms | worst ms | errors | of them 5xx |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(MIX):
        mine = [answer for answer in load.answers if answer.kind == kind]
        taken = [answer.milliseconds for answer in mine]
        p50, p95, p99 = (percentile(taken, share) for share in (0.50, 0.95, 0.99))
        wrong = sum(answer.wrong for answer in mine)
        broken = sum(answer.status >= 500 for answer in mine)
        lines.append(
            f"| {kind} | {len(mine)} | {len(mine) / load.seconds:.1f} | {p50:.1f} | {p95:.1f} | {p99:.1f} "
            f"| {max(taken):.1f} | {wrong} | {broken} |"
        )
    moments = [round(at * (len(load.api) - 1) / MOMENTS) for at in range(MOMENTS + 1)]
    lines += [
        "",
        f"| resident MiB, at even intervals over {load.seconds:.0f} s |" + " |" * len(moments),
        "|---|" + "---|" * len(moments),
        *(
            f"| {name} | " + " | ".join(f"{seen[at] / 2**20:.0f}" for at in moments) + " |"
            for name, seen in (("API", load.api), ("worker", load.worker))
        ),
    ]
    return "\n".join(lines)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least that share of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(-int(-share * len(ordered) // 1), 1) - 1]


def verdict(load: Load) -> str:
    """Whether POSTs keep within reach."""
    p95 = percentile([answer.milliseconds for answer in load.answers if answer.kind == "POST"], 0.95)
    wanted = REACH[load.database]
    met = "met" if p95 <= wanted and not any(answer.wrong for answer in load.answers) else "MISSED"
    cost = load.processor / len(load.answers) * 1000
    return f"POST p95 {p95:.1f} ms (wanted {wanted:g} ms), no error: {met}. The API computed {cost:.1f} ms per request."


def machine() -> str:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpus = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = cpus[0] if cpus else platform.machine()
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} × {model}, {memory:.0f} GiB, load average before it {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


@contextmanager
def sqlite(folder: Path) -> Iterator[tuple[Settings, None]]:
    """An empty service on SQLite."""
    settings = Settings(data_dir=folder / "data")
    settings.data_dir.mkdir(mode=0o700)
    migrate(settings.database)
    yield settings, None


@contextmanager
def postgresql(folder: Path) -> Iterator[tuple[Settings, RedisServer]]:
    """An empty service on a PostgreSQL database and a Redis of its own."""
    server, name = make_url(POSTGRES), f"r2f_load_{secrets.token_hex(4)}"
    admin = server.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True, connect_timeout=5) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            redis = RedisServer(folder)
            key = SecretStr(base64.b64encode(secrets.token_bytes(32)).decode())
            url = server.set(database=name).render_as_string(hide_password=False)
            settings = Settings(data_dir=folder / "data", database_url=url, broker_url=redis.url, master_key=key)
            settings.data_dir.mkdir(mode=0o700)
            migrate(url)
            yield settings, redis
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--on", nargs="+", choices=list(REACH), default=list(REACH))
    parser.add_argument("--local", action="store_true", help="without API key and Idempotency-Key")
    arguments = parser.parse_args()
    callers = "without keys" if arguments.local else "each with an API key, each POST with an Idempotency-Key"
    print(f"{machine()}; {arguments.rate:g} requests/s for {arguments.seconds:g} s, {callers}; one API process\n")
    for name in arguments.on:
        prepared = {"sqlite": sqlite, "postgresql": postgresql}[name]
        with terminable(), tempfile.TemporaryDirectory() as folder, prepared(Path(folder)) as (settings, redis):
            load = measure(settings, name, arguments.seconds, arguments.rate, redis, local=arguments.local)
        print(f"{table(load)}\n\n{verdict(load)}\n", flush=True)


if __name__ == "__main__":
    main()
