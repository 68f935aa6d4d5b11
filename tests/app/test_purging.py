"""What a request said is destroyed when it is no longer needed; what is owed, and what was measured, stays."""

from datetime import datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from app import clock, purging
from app.deadlines import OWED, is_overdue
from app.errors import StoreUnavailable
from app.models import AuditEvent, Certificate, Deletion, Status
from app.report import VerdictKind
from app.services import Services
from tests.conftest import FRANCE, FakePipeline, wired, worker_on

REQUEST = {**FRANCE, "reference": "case-1", "data_subject": "Zebulon  Quartz"}


def finish(client: TestClient, kind: VerdictKind = VerdictKind.PASSED) -> str:
    deletion_id = client.post("/deletions", json=REQUEST).json()["id"]
    worker_on(wired(client), FakePipeline(kind), f"wrk_{deletion_id}").runner.work()
    return deletion_id


def ago(services: Services, deletion_id: str, **moments: timedelta) -> None:
    """Move moments of a deletion into the past."""
    now = clock.now()
    with services.database.transaction() as session:
        values = {name: now - past for name, past in moments.items()}
        session.execute(update(Deletion).where(Deletion.id == deletion_id).values(**values))


def certified(services: Services) -> set[str]:
    with services.database.read() as session:
        return set(session.scalars(select(Certificate.deletion_id)))


def row(services: Services, deletion_id: str) -> Deletion:
    with services.database.read() as session:
        return session.get(Deletion, deletion_id)


def test_after_the_grace_period_the_key_goes_and_the_figures_stay(client):
    services = wired(client)
    old, fresh = finish(client), finish(client)
    ago(services, old, finished_at=timedelta(days=7, minutes=1))
    ago(services, fresh, finished_at=timedelta(days=6, hours=23))
    services.purger.sweep()
    seen = client.get(f"/deletions/{old}").json()
    assert (seen["reference"], seen["status"]) == (None, "completed")
    assert seen["purged_at"] is not None
    report = client.get(seen["links"]["report"]).json()
    assert report["evidence"] is None
    assert report["figures"]["views"] == 4
    assert client.get(seen["links"]["adapter"]).status_code == 200
    gone = row(services, old)
    assert (gone.wrapped_key, gone.sealed_payload, gone.sealed_evidence, gone.key_epoch) == (None,) * 4
    assert row(services, fresh).wrapped_key is not None
    with services.database.read() as session:
        assert list(session.scalars(select(AuditEvent.deletion_id).where(AuditEvent.action == "deletion.purged"))) == [
            old
        ]


@pytest.mark.parametrize("fault", ["torn", "figures", "store"])
def test_what_keeps_a_certificate_from_being_issued_keeps_no_promise_from_being_kept(client, monkeypatch, fault):
    services = wired(client)
    stuck, old = finish(client), finish(client)
    if fault == "torn":
        (services.settings.artefacts / stuck / "1" / "adapter_config.json").write_text("{torn")
    elif fault == "figures":
        with services.database.transaction() as session:
            session.execute(update(Deletion).where(Deletion.id == stuck).values(figures={}))
    monkeypatch.setattr(services.purger, "_retention", timedelta(days=7))
    ago(services, old, finished_at=timedelta(days=8))
    with monkeypatch.context() as away:
        if fault == "store":
            away.setattr(services.store, "read", lambda *_: (_ for _ in ()).throw(StoreUnavailable()))
        services.purger.sweep()
    assert row(services, old).purged_at is not None
    # the time of an adapter is over once its certificate says what it was; a store that is away is waited for
    assert (row(services, old).adapter_expired_at is None) == (fault == "store")
    assert certified(services) == (set() if fault == "store" else {old})
    ago(services, stuck, finished_at=timedelta(days=8))
    services.purger.sweep()
    for deletion_id in (old, stuck):
        assert row(services, deletion_id).adapter_expired_at is not None
    answers = [client.get(f"/deletions/{deletion_id}/certificate") for deletion_id in (old, stuck)]
    # where no certificate will ever be, the promise to let go of the adapter counts; none is signed without it
    assert [answer.status_code for answer in answers] == [200, 200 if fault == "store" else 409]
    assert answers[0].json()["statement"]["adapter"]["rank"] == 16


def test_certificates_that_cannot_be_issued_do_not_stand_in_the_way_of_others(client, monkeypatch):
    monkeypatch.setattr(purging, "BATCH", 2)
    services, ids = wired(client), [finish(client) for _ in range(4)]
    for stuck in ids[:2]:
        (services.settings.artefacts / stuck / "1" / "adapter_config.json").unlink()
    for _ in range(2):
        services.purger.sweep()
    assert certified(services) == set(ids[2:])
    for _ in range(3):  # the round begins anew
        finish(client)
        services.purger.sweep()
    assert len(certified(services)) == 5


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING, Status.NEEDS_REVIEW, Status.FAILED])
def test_what_is_still_owed_is_not_purged_however_old_it_is(client, status):
    services = wired(client)
    deletion_id = client.post("/deletions", json=REQUEST).json()["id"]
    with services.database.transaction() as session:
        session.execute(update(Deletion).values(status=status))
    ago(services, deletion_id, finished_at=timedelta(days=400))
    services.purger.sweep()
    assert row(services, deletion_id).wrapped_key is not None


def test_one_process_at_a_time_purges(client, settings):
    from app import services as wiring

    assert wired(client).purger.sweep()
    other = wiring.build(settings)
    assert not other.purger.sweep()
    other.bell.close()
    other.database.close()


def test_a_purge_on_demand_happens_at_once_and_once(client):
    deletion_id = finish(client)
    path = f"/deletions/{deletion_id}/personal-data"
    first, second = client.delete(path), client.delete(path)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["purged_at"] == second.json()["purged_at"]
    gone = client.get(f"/deletions/{deletion_id}/commitment")
    assert (gone.status_code, gone.json()["type"]) == (410, "/problems/commitment-purged")


def test_what_a_worker_needs_cannot_be_purged_and_what_was_purged_cannot_run(client):
    deletion_id = client.post("/deletions", json=REQUEST).json()["id"]
    refused = client.delete(f"/deletions/{deletion_id}/personal-data")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-purgeable")
    client.delete(f"/deletions/{deletion_id}").raise_for_status()
    client.delete(f"/deletions/{deletion_id}/personal-data").raise_for_status()
    again = client.post(f"/deletions/{deletion_id}/retry")
    assert (again.status_code, again.json()["type"]) == (409, "/problems/not-retryable")


def test_an_adapter_goes_when_its_retention_is_over_and_its_certificate_stays(client, monkeypatch):
    services, deletion_id = wired(client), finish(client)
    certificate = client.get(f"/deletions/{deletion_id}/certificate").content
    monkeypatch.setattr(services.purger, "_retention", timedelta(days=30))
    ago(services, deletion_id, finished_at=timedelta(days=29))
    services.purger.sweep()
    assert client.get(f"/deletions/{deletion_id}/adapter").status_code == 200
    ago(services, deletion_id, finished_at=timedelta(days=31))
    services.purger.sweep()
    gone = client.get(f"/deletions/{deletion_id}/adapter")
    assert (gone.status_code, gone.json()["type"]) == (410, "/problems/adapter-expired")
    assert "adapter" not in {
        name for name, link in client.get(f"/deletions/{deletion_id}").json()["links"].items() if link
    }
    assert list(services.settings.artefacts.rglob("*.safetensors")) == []
    assert client.get(f"/deletions/{deletion_id}/certificate").content == certificate


def test_a_data_subject_is_found_without_its_name_in_an_address(client):
    mine = [finish(client), client.post("/deletions", json=REQUEST).json()["id"]]
    client.post("/deletions", json=FRANCE)
    wanted = {"data_subject": " zebulon quartz", "limit": 1}
    first = client.post("/deletions/search", json=wanted).json()
    rest = client.post("/deletions/search", json={**wanted, "cursor": first["next"]}).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == mine[::-1]
    assert rest["next"] is None
    assert client.post("/deletions/search", json={"data_subject": "Zebulon"}).json()["items"] == []
    client.delete(f"/deletions/{mine[0]}/personal-data").raise_for_status()
    assert len(client.post("/deletions/search", json={**wanted, "limit": 9}).json()["items"]) == 2


@pytest.mark.parametrize(
    ("received", "months", "due"),
    [
        ((2026, 1, 31), 1, (2026, 3, 31)),  # counted from receipt: February's end does not shorten it
        ((2026, 12, 31), 2, (2027, 3, 31)),
        ((2027, 11, 30), 2, (2028, 2, 29)),
        ((2026, 11, 30), 2, (2027, 2, 28)),
    ],
)
def test_an_extension_is_counted_in_calendar_months_from_receipt(received, months, due):
    from datetime import UTC

    from app.deadlines import extended

    assert extended(datetime(*received, tzinfo=UTC), months) == datetime(*due, tzinfo=UTC)


def test_a_due_date_is_extended_once_with_a_reason(client):
    receipt = client.post("/deletions", json=REQUEST).json()
    path = f"/deletions/{receipt['id']}/extend"
    for wrong in ({}, {"months": 3, "reason": "complexity"}, {"months": 1, "reason": "holiday"}, {"months": 0}):
        assert client.post(path, json=wrong).status_code == 422
    seen = client.post(path, json={"months": 2, "reason": "complexity"}).json()
    assert seen["extension"] == {"months": 2, "reason": "complexity"}
    assert datetime.fromisoformat(seen["due_at"]) == clock.months_after(datetime.fromisoformat(seen["created_at"]), 3)
    again = client.post(path, json={"months": 1, "reason": "complexity"})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/not-extendable")


def test_what_is_late_is_counted_listed_and_no_longer_extended(client):
    services = wired(client)
    done = finish(client)
    assert Status.FAILED in OWED
    late, early = (client.post("/deletions", json=REQUEST).json()["id"] for _ in range(2))
    for deletion_id in (done, late):
        ago(services, deletion_id, due_at=timedelta(seconds=1))
    assert [is_overdue(row(services, each), clock.now()) for each in (done, late, early)] == [False, True, False]
    assert [item["id"] for item in client.get("/deletions?overdue=true").json()["items"]] == [late]
    assert [item["id"] for item in client.get("/deletions?overdue=false").json()["items"]] == [early, done]
    assert client.get(f"/deletions/{late}").json()["overdue"]
    refused = client.post(f"/deletions/{late}/extend", json={"months": 1, "reason": "number_of_requests"})
    assert refused.status_code == 409
