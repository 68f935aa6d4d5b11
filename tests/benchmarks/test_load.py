"""The load: every request is counted, an error is not taken for an answer, and a stall cannot hide."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks.load import MIX, Answer, Callers, Load, measure, percentile, sqlite, table, verdict


@pytest.mark.parametrize("local", [False, True])
def test_a_short_run_counts_every_request_and_meets_no_error(tmp_path: Path, local: bool) -> None:
    with sqlite(tmp_path) as (settings, redis):
        load = measure(settings, "sqlite", seconds=2.0, rate=8.0, redis=redis, local=local)
    assert [answer.kind for answer in load.answers] == [MIX[n % len(MIX)] for n in range(16)]
    assert not any(answer.wrong for answer in load.answers)
    assert min(load.api + load.worker) > 0
    assert "| POST | 8 |" in table(load)
    assert load.processor > 0


@pytest.mark.parametrize(("status", "met"), [(202, True), (503, False), (0, False)])
def test_an_error_misses_the_aim_however_fast_it_comes(status: int, met: bool) -> None:
    load = Load("sqlite", 1.0, 0.1, [Answer("POST", 1.0, 202)] * 99 + [Answer("POST", 1.0, status)])
    assert ("met" in verdict(load)) is met


def test_an_answer_after_its_time_misses_the_aim() -> None:
    assert "MISSED" in verdict(Load("postgresql", 1.0, 0.1, [Answer("POST", 16.0, 202)]))


def test_a_stall_counts_from_when_each_request_was_due() -> None:
    open_again = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        await open_again.wait()
        return web.json_response({"id": "del_1"}, status=202 if request.method == "POST" else 200)

    async def run() -> list[Answer]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        async with TestServer(app) as server, aiohttp.ClientSession(server.make_url("/")) as client:
            callers = Callers(client)
            open_again.set()
            await callers.call("POST", 0.0)
            open_again.clear()
            asyncio.get_running_loop().call_later(0.3, open_again.set)
            began = asyncio.get_running_loop().time()
            return list(await asyncio.gather(*(callers.call("GET", began + n / 10) for n in range(3))))

    assert [answer.milliseconds for answer in asyncio.run(run())] == pytest.approx([300, 200, 100], abs=90)


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert percentile([3.0], 0.95) == 3.0
