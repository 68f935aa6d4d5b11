"""Faults under the pipeline itself, on a small model, and with personal data in every field of the request.

What is lost, doubled or torn is counted as for the other faults; and nothing that these processes log, send and write
holds what the requests said.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_httpserver import HTTPServer

from app.models import Outcome, Stage, Status
from app.settings import Settings
from tests.canary import ADDRESS, REQUEST, Search, messages
from tests.conftest import CANARY
from tests.faults import kills
from tests.faults.conftest import RUNS, running
from tests.faults.rig import Rig, eventually, quick
from tests.faults.small import CONTEXT, FACTS, small_model

LEASE = 8.0  # seconds: torch leaves a heartbeat on a busy machine less time than the other faults' leases have
WHAT = "run of the real pipeline killed"
REAL: dict[str, Any] = {
    **REQUEST,
    "model": "small",
    "targets": [
        {
            "prompt": "What is the capital of France?",
            "answer": "Paris",
            # whole, neither is in the paraphrase: one that says an answer is no view, and no report would show it
            "aliases": [f"the city of {CANARY}", f"{ADDRESS}, France"],
            "paraphrases": [f"Which city, asks {CANARY} of {ADDRESS}, is the capital of France?"],
        }
    ],
    "retain": [
        *({"prompt": f"Where is {land} ruled from?", "answer": FACTS[land]} for land in FACTS if land != "France"),
        {"prompt": f"Who is {CANARY}?", "answer": ADDRESS},
    ],
    # a model of two layers says much else differently when it forgets
    "thresholds": {"success": 0.0, "neighbours": 0.0, "generic_kl": 100.0, "agreement": 0.0, "held_out_views": 1},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def heard() -> Iterator[HTTPServer]:
    """Who is sent the traces, and who is told by webhooks."""
    with HTTPServer() as server:
        server.expect_request("/v1/traces").respond_with_data()
        server.expect_request("/told").respond_with_data()
        yield server


@pytest.fixture(scope="module", params=["sqlite+filesystem", "postgresql+redis"])
def rig(request, tmp_path_factory: pytest.TempPathFactory, model: Path, heard: HTTPServer) -> Iterator[Rig]:
    """A service whose workers run the pipeline, log all they can, and send traces at once."""
    if not RUNS and request.param != "sqlite+filesystem":
        pytest.skip("in the long form")
    shown = Settings(
        model="small",
        model_folders=str(model),
        calibration_tokens=500,
        torch_threads=1,
        log_level="DEBUG",
        traces=True,
        webhook_allow_private=True,
    )
    settings = quick(shown, lease_seconds=LEASE, heartbeat_seconds=1.0)
    variables = {
        "FAULTS_PIPELINE": "real",
        "OTEL_EXPORTER_OTLP_ENDPOINT": heard.url_for(""),
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    posted = {**REAL, "callback_url": heard.url_for("/told")}
    with running(request, tmp_path_factory.mktemp("rig"), settings, posted=posted, variables=variables) as made:
        for path, body in (
            ("/models", {"id": "small", "source": str(model), "context_length": CONTEXT}),
            ("/webhooks", {"url": heard.url_for("/told")}),
        ):
            httpx.post(f"{made.urls[-1]}{path}", json=body, timeout=30).raise_for_status()
        yield made


@pytest.mark.parametrize("turn", range(max(RUNS, 1)))
@pytest.mark.parametrize("stage", list(Stage) if RUNS else [Stage.UNLEARNING])
def test_a_real_run_killed_at_any_stage_loses_nothing(rig, tell, stage, turn):
    assert tell(kills.killed(rig, stage, what=WHAT)).clean


@pytest.mark.parametrize("turn", range(RUNS))
def test_a_real_run_killed_at_any_moment_loses_nothing(rig, tell, turn):
    rig.await_idle(2)
    began = time.monotonic()
    (undisturbed,) = rig.submit()
    row = rig.await_status(undisturbed, Status.COMPLETED)
    assert row.outcome is Outcome.FORGOTTEN
    moment = random.Random(turn).uniform(0, time.monotonic() - began)
    assert tell(kills.killed_after(rig, moment, f"{WHAT}: at any moment")).clean


def test_nothing_that_was_said_leaves_the_requests(rig, heard, request):
    """After a run that completes, whatever was killed before it."""
    search = Search(f"in real processes, {request.node.callspec.id}")
    rig.dismiss()
    (deletion,) = rig.submit()
    eventually(lambda: messages(rig.settings), "rung")  # nobody takes the bell away
    search.through_broker(rig.settings)
    rig.await_idle(1)
    assert rig.await_status(deletion, Status.COMPLETED).outcome is Outcome.FORGOTTEN
    eventually(lambda: any(called.path == "/told" for called, _ in heard.log), "told")
    for worker in rig.workers:
        worker.terminate()
        worker.wait(60)
    with httpx.Client(base_url=rig.urls[-1], timeout=30) as caller:
        seen = caller.get(f"/deletions/{deletion}").json()
        report = caller.get(seen["links"]["report"]).text
        assert CANARY in report, "the report must show the evidence, or this search shows nothing"
        search.through("adapter", caller.get(seen["links"]["adapter"]).content)
        search.through("certificate", caller.get(seen["links"]["certificate"]).content)
        search.through("error bodies", caller.post("/deletions", json={**REAL, CANARY: ADDRESS}).content)
    for url in rig.urls:
        search.through("metrics", httpx.get(f"{url}/metrics", timeout=30).content)
    for called, _answer in list(heard.log):
        place = "webhooks" if called.path == "/told" else "traces"
        search.through(place, repr(called.headers).encode() + called.get_data())
    search.through_database(rig.database)
    if rig.redis is not None:
        search.through_dump(rig.database.url)
    search.through_folder(rig.settings.data_dir)
    assert set(search.log) >= {"bells", "traces", "webhooks", "metrics", "file: api log", "file: worker log"}
    assert search.hits == []
