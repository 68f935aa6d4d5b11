"""Metrics: true, free of ids, readable by Prometheus, and all of them on the dashboard file."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine, update

from app import clock
from app.models import Deletion, Status
from tests.conftest import CANARY, FRANCE, FakePipeline, wired, worker_on

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = "smollm2-135m-instruct"


def scraped(client: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample, by its name and the values of its labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def test_deletions_and_the_queue_are_counted_by_model_and_status(client: TestClient):
    for _ in range(3):
        client.post("/deletions", json=FRANCE)
    worker_on(wired(client), FakePipeline()).runner.work()
    found = scraped(client)
    assert found["r2f_deletions", (MODEL, "queued")] == 2
    assert found["r2f_deletions", (MODEL, "completed")] == 1
    assert found["r2f_workers", (MODEL, "ready")] == 1
    assert 0 <= found["r2f_worker_heartbeat_age_seconds", (MODEL,)] < 60
    assert found["r2f_queue_age_seconds", (MODEL,)] >= 0
    assert (found["r2f_deletions_overdue", ()], found["r2f_leases_expired", ()]) == (0, 0)


def test_what_has_ended_is_counted_once_in_a_while_and_what_is_open_at_every_scrape(client: TestClient, monkeypatch):
    open_then_canceled = client.post("/deletions", json=FRANCE).json()["id"]
    assert scraped(client)["r2f_deletions", (MODEL, "queued")] == 1
    assert client.delete(f"/deletions/{open_then_canceled}").status_code == 200
    found = scraped(client)
    assert ("r2f_deletions", (MODEL, "queued")) not in found
    assert ("r2f_deletions", (MODEL, "canceled")) not in found
    monkeypatch.setattr("app.metrics.ENDED_SECONDS", 0)
    assert scraped(client)["r2f_deletions", (MODEL, "canceled")] == 1


def test_what_is_late_is_told(client: TestClient):
    deletion = client.post("/deletions", json=FRANCE).json()["id"]
    late = clock.now() - timedelta(hours=1)
    with wired(client).database.write() as session:
        changed = {"due_at": late, "created_at": late, "status": Status.RUNNING, "lease_expires_at": late}
        session.execute(update(Deletion).where(Deletion.id == deletion).values(**changed, cancel_requested=False))
    found = scraped(client)
    assert found["r2f_deletions_overdue", ()] == 1
    assert found["r2f_leases_expired", ()] == 1


def test_what_failed_is_owed_still_until_its_request_is_destroyed(client: TestClient):
    deletion = client.post("/deletions", json=FRANCE).json()["id"]
    late = clock.now() - timedelta(hours=1)
    with wired(client).database.write() as session:
        changed = {"due_at": late, "status": Status.FAILED, "finished_at": late}
        session.execute(update(Deletion).where(Deletion.id == deletion).values(**changed))
    assert scraped(client)["r2f_deletions_overdue", ()] == 1
    assert client.get(f"/deletions/{deletion}").json()["overdue"]
    assert client.delete(f"/deletions/{deletion}/personal-data").status_code == 200
    assert scraped(client)["r2f_deletions_overdue", ()] == 0
    assert not client.get(f"/deletions/{deletion}").json()["overdue"]


def test_a_retried_deletion_waits_from_its_retry(client: TestClient):
    deletion = client.post("/deletions", json=FRANCE).json()["id"]
    client.delete(f"/deletions/{deletion}")
    with wired(client).database.write() as session:
        session.execute(update(Deletion).values(created_at=clock.now() - timedelta(days=10)))
    assert client.post(f"/deletions/{deletion}/retry").status_code == 202
    assert scraped(client)["r2f_queue_age_seconds", (MODEL,)] < 60


def test_requests_are_counted_by_route_and_status_and_never_by_path(client: TestClient):
    deletion = client.post("/deletions", json=FRANCE).json()["id"]
    client.get(f"/deletions/{deletion}")
    client.get(f"/{CANARY}")
    client.request("BREW", "/deletions")
    found = scraped(client)
    assert found["r2f_requests_total", ("POST", "/deletions", "202")] == 1
    assert found["r2f_requests_total", ("GET", "/deletions/{deletion_id}", "200")] == 1
    assert found["r2f_requests_total", ("GET", "none", "404")] == 1
    assert found["r2f_request_seconds_count", ("POST", "/deletions")] == 1
    text = client.get("/metrics").text
    for hidden in (deletion, CANARY, "BREW", "Paris"):
        assert hidden not in text


ASKED = {
    "": "text/plain; version=0.0.4",
    "text/plain;version=0.0.4": "text/plain; version=0.0.4",
    "text/plain;version=1.0.0;escaping=allow-utf-8": "text/plain; version=1.0.0",
    "application/openmetrics-text": "application/openmetrics-text; version=1.0.0",
    "application/openmetrics-text;version=0.0.1,application/openmetrics-text; version=1.0.0 ;q=0.5":
        "application/openmetrics-text; version=1.0.0",
    "application/openmetrics-text; version=x.y": "text/plain; version=0.0.4",
    "text/plain; version=x.y": "text/plain; version=0.0.4",
    "application/openmetrics-text; version=" + "9" * 5000: "text/plain; version=0.0.4",
    "application/openmetrics-text; version=9.9.9": "text/plain; version=0.0.4",
    "application/openmetrics-text; version=x.y, application/openmetrics-text; version=1.0.0":
        "application/openmetrics-text; version=1.0.0",
}  # fmt: skip


@pytest.mark.parametrize("accept", ASKED)
def test_a_scraper_gets_the_format_it_asks_for_and_the_plain_one_where_nobody_knows_that(client: TestClient, accept):
    answer = client.get("/metrics", headers={"Accept": accept})
    assert (answer.status_code, "r2f_database_up" in answer.text) == (200, True)
    assert answer.headers["content-type"].startswith(ASKED[accept])


def test_without_a_database_the_requests_are_still_told(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wired(client).database, "_reading", create_engine("postgresql+psycopg://127.0.0.1:9/none"))
    found = scraped(client)
    assert found["r2f_database_up", ()] == 0
    assert not any(name == "r2f_deletions" for name, _ in found)


def test_the_dashboard_shows_metrics_that_exist_and_leaves_none_out(client: TestClient):
    client.post("/deletions", json=FRANCE)
    worker_on(wired(client), FakePipeline())
    told = {name for name, _ in scraped(client)}
    told = {name for name in told if not name.endswith(("_created", "_sum", "_count"))}
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text("utf-8"))
    shown = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"r2f_\w+", target["expr"])
    }
    assert shown == told
