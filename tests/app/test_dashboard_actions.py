"""What operators do from the pages: who may, what happens, and what is said when it cannot be done."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from app.access import DEFAULT_TENANT, Scope
from app.audit_check import Fault
from app.dashboard.overview import history
from app.dashboard.pages import FAULTS
from app.models import AuditEvent
from app.report import VerdictKind
from tests.app.test_dashboard import Elements
from tests.conftest import FRANCE, FakePipeline, wired, worker_on

OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


def submit(client):
    return client.post("/deletions", json=FRANCE).json()["id"]


def reviewed(client):
    deletion_id = submit(client)
    worker_on(wired(client), FakePipeline(VerdictKind.MISSED)).runner.work()
    return deletion_id


def act(client, deletion_id, action, **headers):
    return client.post(f"/ui/deletions/{deletion_id}/{action}", headers={**OWN_PAGE, **headers}, follow_redirects=False)


def key(client, *scopes, tenant=DEFAULT_TENANT):
    return wired(client).keys.create(tenant, "test", frozenset(scopes)).token


def log_in(client, *scopes, tenant=DEFAULT_TENANT):
    client.cookies.clear()
    sent = {"data": {"key": key(client, *scopes, tenant=tenant)}, "headers": OWN_PAGE, "follow_redirects": False}
    answer = client.post("/ui/login?to=/ui/workers", **sent)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/workers")


def buttons(client, deletion_id):
    page = Elements(client.get(f"/ui/deletions/{deletion_id}").text)
    return {form["action"].rpartition("/")[2] for form in page.all("form")} - {"logout"}


def test_only_what_is_possible_is_offered(client: TestClient):
    queued, review = submit(client), None
    assert buttons(client, queued) == {"cancel"}
    assert act(client, queued, "cancel").status_code == 303
    assert buttons(client, queued) == {"retry"}
    review = reviewed(client)
    assert buttons(client, review) == {"approve", "reject"}
    act(client, review, "approve")
    assert buttons(client, review) == set()


def test_a_retry_is_offered_where_it_can_succeed(client: TestClient):
    stopped = submit(client)
    worker_on(wired(client), FakePipeline(meanwhile=lambda stage: cancel_once(client, stopped))).runner.work()
    assert client.get(f"/deletions/{stopped}").json()["status"] == "canceled"
    assert buttons(client, stopped) == {"retry"}
    client.delete(f"/deletions/{stopped}/personal-data")
    assert buttons(client, stopped) == set()


def cancel_once(client, deletion_id):
    """Cancel what runs, of which nothing more is offered from then on."""
    act(client, deletion_id, "cancel")
    assert buttons(client, deletion_id) == set()


@pytest.mark.parametrize(
    ("action", "status", "said"),
    [("approve", "completed", "the adapter is published"), ("reject", "failed", "the report stays")],
)
def test_a_decision_is_carried_out_and_told(client: TestClient, action, status, said):
    deletion_id = reviewed(client)
    answer = act(client, deletion_id, action)
    assert answer.headers["location"] == f"/ui/deletions/{deletion_id}?done={action}"
    assert said in client.get(answer.headers["location"]).text
    assert client.get(f"/deletions/{deletion_id}").json()["status"] == status


@pytest.mark.parametrize("action", ["approve", "reject", "retry", "cancel"])
def test_an_action_that_comes_too_late_changes_nothing_and_says_why(client: TestClient, action):
    deletion_id = submit(client)
    worker_on(wired(client), FakePipeline()).runner.work()
    before = client.get(f"/deletions/{deletion_id}").json()
    answer = act(client, deletion_id, action)
    assert answer.status_code == 409
    assert "It is completed" in answer.text
    assert f'href="/ui/deletions/{deletion_id}"' in answer.text
    assert client.get(f"/deletions/{deletion_id}").json() == before


def test_an_action_done_twice_is_done_once(client: TestClient):
    deletion_id = reviewed(client)
    assert [act(client, deletion_id, "approve").status_code for _ in range(2)] == [303, 409]
    actions = [event.action for event in history(wired(client).database, deletion_id)]
    assert actions.count("deletion.approved") == 1


def test_a_retried_deletion_runs_again(client: TestClient):
    deletion_id = submit(client)
    act(client, deletion_id, "cancel")
    assert act(client, deletion_id, "retry").status_code == 303
    worker_on(wired(client), FakePipeline()).runner.work()
    assert client.get(f"/deletions/{deletion_id}").json()["outcome"] == "forgotten"


def test_an_unknown_action_or_deletion_is_a_page_too(client: TestClient):
    deletion_id = submit(client)
    assert act(client, deletion_id, "explode").status_code == 422
    unknown = act(client, "del_" + "0" * 32, "cancel")
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_a_page_of_another_site_cannot_act(client: TestClient):
    deletion_id = submit(client)
    assert act(client, deletion_id, "cancel", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.get(f"/deletions/{deletion_id}").json()["status"] == "queued"


def test_whoever_is_not_logged_in_is_led_to_log_in_and_back(client: TestClient):
    deletion_id = submit(client)
    key(client, Scope.ADMIN)  # the first key ends the time in which this machine needs none
    answer = client.get(f"/ui/deletions/{deletion_id}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/ui/login?to=%2Fui%2Fdeletions%2F{deletion_id}")
    page = Elements(client.get(answer.headers["location"]).text)
    (form,) = page.all("form")
    assert form["action"] == f"/ui/login?to=%2Fui%2Fdeletions%2F{deletion_id}"
    part = client.get("/", headers={"HX-Request": "true"}, follow_redirects=False)
    assert part.status_code == 401
    assert act(client, deletion_id, "cancel").status_code == 401


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_logging_in_never_leads_to_another_site(client: TestClient, to):
    sent = {"key": key(client, Scope.ADMIN)}
    answer = client.post("/ui/login", params={"to": to}, data=sent, headers=OWN_PAGE, follow_redirects=False)
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize(
    ("address", "origin", "status"),
    [
        ("http://r2f.example", "http://r2f.example", 403),
        ("http://r2f.example", "https://r2f.example", 303),  # through a proxy that ends TLS and does not say so
        ("https://r2f.example", "https://r2f.example", 303),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", 303),
    ],
)
def test_logging_in_where_the_session_would_be_lost_is_refused_with_the_reason(
    client: TestClient, address: str, origin: str, status: int
):
    browser = TestClient(client.app, base_url=address)
    sent = {"data": {"key": key(client, Scope.ADMIN)}, "headers": {"Origin": origin}, "follow_redirects": False}
    answer = browser.post("/ui/login", **sent)
    assert answer.status_code == status
    assert ("Logging in needs https here" in answer.text) is (status == 403)
    assert ("set-cookie" in answer.headers) is (status == 303)
    assert ("needs https" in browser.get("/ui/login").text) is (address == "http://r2f.example")
    assert "needs https" not in browser.get("/ui/login", headers={"Sec-Fetch-Site": "none"}).text


def test_a_wrong_key_is_refused_and_not_repeated(client: TestClient):
    answer = client.post("/ui/login", data={"key": "r2f_secret-that-is-wrong"}, headers=OWN_PAGE)
    assert answer.status_code == 401
    assert "not one that works here" in answer.text
    assert "secret-that-is-wrong" not in answer.text


def test_a_reader_sees_and_cannot_act(client: TestClient):
    deletion_id = reviewed(client)
    log_in(client, Scope.DELETIONS_READ)
    assert buttons(client, deletion_id) == set()
    assert "Audit log" not in client.get("/").text
    assert client.get("/ui/audit").status_code == 403
    answer = act(client, deletion_id, "approve")
    assert answer.status_code == 403
    assert "does not have the scope" in answer.text
    assert client.get(f"/deletions/{deletion_id}").json()["status"] == "needs_review"


def test_a_problem_keeps_the_navigation_of_whoever_is_logged_in(client: TestClient):
    log_in(client, Scope.DELETIONS_READ)
    for path, status in ((f"/ui/deletions/del_{'0' * 32}", 404), ("/ui/audit", 403), ("/?status=lost", 422)):
        answer = client.get(path)
        assert answer.status_code == status
        page = Elements(answer.text)
        assert {"/ui/workers", "/ui/models"} <= {a["href"] for a in page.all("a")}, path
        assert "Log out" in page.text


def test_whoever_may_only_write_sees_nothing(client: TestClient):
    deletion_id = reviewed(client)
    log_in(client, Scope.DELETIONS_WRITE)
    for path in ("/", f"/ui/deletions/{deletion_id}", f"/deletions/{deletion_id}/report", "/ui/workers"):
        answer = client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 403, path
        assert "Paris" not in answer.text


def test_another_tenant_sees_nothing(client: TestClient):
    deletion_id = reviewed(client)
    log_in(client, Scope.ADMIN, tenant="other")
    assert client.get(f"/ui/deletions/{deletion_id}").status_code == 404
    assert deletion_id not in client.get("/").text
    assert deletion_id not in client.get("/ui/audit").text
    assert act(client, deletion_id, "approve").status_code == 404


def test_logging_out_ends_the_session(client: TestClient):
    log_in(client, Scope.ADMIN)
    assert "Log out" in client.get("/").text
    client.post("/ui/logout", headers=OWN_PAGE)
    assert client.get("/", follow_redirects=False).status_code == 303


def test_the_audit_log_is_shown_newest_first_and_paged(client: TestClient):
    made = [submit(client) for _ in range(51)]
    page = Elements(client.get("/ui/audit").text)
    shown = [a["title"] for a in page.all("a") if a.get("class") == "id"]
    (older,) = [a["href"] for a in page.all("a") if a.get("rel") == "next"]
    shown += [a["title"] for a in Elements(client.get(older).text).all("a") if a.get("class") == "id"]
    assert shown == made[::-1]


def test_an_operator_checks_the_audit_log_and_is_told_where_it_breaks(client: TestClient):
    for _ in range(3):
        submit(client)
    assert "The log holds" not in client.get("/ui/audit").text, "it is checked when that is asked for"
    checked = client.get("/ui/audit", params={"check": True}).text
    assert "The log holds: each of its 3 events" in checked
    with wired(client).database.write() as session:
        session.execute(update(AuditEvent).where(AuditEvent.id == 2).values(actor="nobody"))
    broken = client.get("/ui/audit", params={"check": True}).text
    assert "event 2 is not what was recorded. Those before it hold." in broken
    assert "The log holds" not in broken


def test_every_fault_of_the_audit_log_has_words():
    assert set(FAULTS) == set(Fault)


def test_a_deletions_page_offers_its_certificate_and_says_when_the_request_was_destroyed(client: TestClient):
    deletion_id = submit(client)
    assert "Certificate" not in client.get(f"/ui/deletions/{deletion_id}").text
    client.post(f"/deletions/{deletion_id}/extend", json={"months": 2, "reason": "number_of_requests"})
    worker_on(wired(client), FakePipeline()).runner.work()
    client.delete(f"/deletions/{deletion_id}/personal-data")
    page = Elements(client.get(f"/ui/deletions/{deletion_id}").text)
    (link,) = [a["href"] for a in page.all("a") if "certificate" in (a.get("href") or "")]
    assert client.get(link).json()["statement"]["deletion_id"] == deletion_id
    assert "by 2 months: number of requests" in page.text
    assert "Request destroyed" in page.text
