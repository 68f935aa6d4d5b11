"""Traces: one from the call to the last stage, through the deletion's row, without anything that a request said."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pytest_httpserver import HTTPServer
from sqlalchemy import select, update

from app import clock, tracing
from app.models import Deletion, Stage, Status
from app.settings import Settings
from tests.conftest import CANARY, FRANCE, FakePipeline, caller, wired, worker_on

STAGES = [str(stage) for stage in Stage]
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TELLING = {
    "model": FRANCE["model"],
    "targets": [{"prompt": f"Where does {CANARY} live?", "answer": CANARY}],
    "data_subject": CANARY,
    "reference": CANARY,
}


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def one(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = named(spans, name)
    return span


def test_one_trace_leads_from_the_call_over_the_bell_and_the_wait_to_every_stage(client: TestClient, spans):
    deletion = client.post("/deletions", json=FRANCE).json()["id"]
    worker_on(wired(client), FakePipeline()).runner.work()
    call, run = one(spans, "POST /deletions"), one(spans, "run")
    assert call.parent is None
    assert {one(spans, name).parent.span_id for name in ("ring", "wait", "run")} == {call.context.span_id}
    assert [span.name for span in spans.get_finished_spans() if span.parent == run.context] == STAGES
    assert {span.context.trace_id for span in spans.get_finished_spans()} == {call.context.trace_id}
    assert {one(spans, name).attributes["r2f.deletion_id"] for name in ("POST /deletions", "ring", "run")} == {deletion}
    assert run.attributes["r2f.code"] == "complete"
    ends = [span.end_time for span in (one(spans, name) for name in STAGES)]
    assert ends == sorted(ends)


def test_the_wait_lasts_from_the_queueing_to_the_claim(client: TestClient, spans):
    client.post("/deletions", json=FRANCE)
    queued = clock.now() - timedelta(minutes=5)
    with wired(client).database.write() as session:
        session.execute(update(Deletion).values(queued_at=queued))
    worker_on(wired(client), FakePipeline()).runner.work()
    wait = one(spans, "wait")
    assert wait.start_time == pytest.approx(queued.timestamp() * 1e9, abs=1e6)
    assert 300 <= (wait.end_time - wait.start_time) / 1e9 < 360


def test_a_run_that_is_taken_over_did_not_wait_and_stays_in_the_trace(client: TestClient, spans):
    client.post("/deletions", json=FRANCE)
    services = wired(client)
    silent, heir = worker_on(services, FakePipeline()), worker_on(services, FakePipeline(), "wrk_heir")
    assert silent.leases.claim(FRANCE["model"], "wrk_test")
    with services.database.write() as session:
        session.execute(update(Deletion).values(lease_expires_at=clock.now() - timedelta(seconds=1)))
    heir.runner.work()
    run = one(spans, "run")
    assert (run.attributes["r2f.attempt"], run.context.trace_id) == (
        2,
        one(spans, "POST /deletions").context.trace_id,
    )
    assert named(spans, "wait") == []


def test_a_run_that_fails_says_at_which_stage_and_by_which_error(client: TestClient, spans):
    client.post("/deletions", json=FRANCE)

    def fail(stage: Stage) -> None:
        if stage is Stage.UNLEARNING:
            raise ValueError(f"cannot forget {CANARY}")

    worker_on(wired(client), FakePipeline(meanwhile=fail)).runner.work()
    assert one(spans, "run").attributes["r2f.code"] == "postponed"
    assert named(spans, Stage.UNLEARNING) == []
    broken = one(spans, Stage.NEIGHBOURS)
    assert (broken.attributes["error.type"], broken.status.status_code) == ("ValueError", trace.StatusCode.ERROR)
    assert one(spans, Stage.VIEWS).status.is_ok or one(spans, Stage.VIEWS).status.is_unset


def test_a_retry_begins_a_trace_of_its_own(client: TestClient, spans):
    path = client.post("/deletions", json=FRANCE).headers["location"]
    client.delete(path)
    client.post(f"{path}/retry")
    worker_on(wired(client), FakePipeline()).runner.work()
    retry = one(spans, "POST /deletions/{deletion_id}/retry")
    assert one(spans, "run").parent.span_id == retry.context.span_id
    assert one(spans, "wait").start_time >= one(spans, "DELETE /deletions/{deletion_id}").start_time


def test_a_caller_who_traces_finds_the_deletion_in_its_own_trace(client: TestClient, spans):
    client.post("/deletions", json=FRANCE, headers={"traceparent": CALLER})
    worker_on(wired(client), FakePipeline()).runner.work()
    call = one(spans, "POST /deletions")
    assert trace.format_trace_id(call.context.trace_id) == CALLER.split("-")[1]
    assert trace.format_span_id(call.parent.span_id) == CALLER.split("-")[2]
    assert one(spans, "run").context.trace_id == call.context.trace_id


def test_a_trace_tells_nothing_of_what_was_asked(client: TestClient, spans):
    class Telling(FakePipeline):
        def __call__(self, request, loaded, checkpoint):
            checkpoint(Stage.VIEWS, 0.0)
            raise ValueError(f"cannot forget {request.targets[0].answer}")

    client.post("/deletions", json=TELLING, headers={"Idempotency-Key": CANARY, "User-Agent": CANARY})
    worker_on(wired(client), Telling()).runner.work()
    client.get(f"/{CANARY}")
    client.get("/deletions", params={"reference": CANARY})
    client.request("BREW", f"/deletions/{CANARY}")
    told = "\n".join(span.to_json() for span in spans.get_finished_spans())
    assert "ValueError" in told
    for hidden in (CANARY, "BREW", "127.0.0.1"):
        assert hidden not in told


def test_probes_leave_no_traces(client: TestClient, spans):
    for path in ("/healthz", "/readyz", "/metrics"):
        client.get(path)
    assert spans.get_finished_spans() == ()


def test_without_the_setting_nothing_is_traced(client: TestClient):
    before = trace.get_tracer_provider()
    tracing.start(wired(client).settings, "r2f-api")
    assert trace.get_tracer_provider() is before
    client.post("/deletions", json=FRANCE, headers={"traceparent": CALLER})
    with wired(client).database.read() as session:
        row = session.scalars(select(Deletion)).one()
    assert (row.status, row.trace_parent) == (Status.QUEUED, None)


def test_with_the_setting_spans_are_sent_over_otlp(
    sqlite_template, tmp_path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
):
    httpserver.expect_request("/v1/traces", method="POST").respond_with_data(b"")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", httpserver.url_for(""))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    made: list[TracerProvider] = []
    monkeypatch.setattr(trace, "set_tracer_provider", made.append)
    (tmp_path / "r2f.db").write_bytes(sqlite_template.read_bytes())
    with caller(Settings(data_dir=tmp_path, traces=True)) as client:
        (provider,) = made
        monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
        client.post("/deletions", json=FRANCE)
        provider.shutdown()  # as at the process's end
    sent = ExportTraceServiceRequest()
    for request, _answer in httpserver.log:
        sent.MergeFromString(request.get_data())
    (resource,) = {tuple((a.key, a.value.string_value) for a in r.resource.attributes) for r in sent.resource_spans}
    assert ("service.name", "r2f-api") in resource
    names = [span.name for r in sent.resource_spans for scope in r.scope_spans for span in scope.spans]
    assert sorted(names) == ["POST /deletions", "ring"]
