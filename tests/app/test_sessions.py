"""A browser logs in with a key and gets a cookie that dies with it; no other site can make it act."""

from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from app import clock
from app.access import Scope
from app.models import BrowserSession
from app.sessions import COOKIE
from app.settings import Settings
from tests.conftest import FRANCE, caller, wired

OWN = {"Origin": "http://127.0.0.1:8000"}


@pytest.fixture
def settings(sqlite_template: Path, tmp_path: Path) -> Settings:
    """One kind of database is enough: a session is one row."""
    (tmp_path / "r2f.db").write_bytes(sqlite_template.read_bytes())
    return Settings(data_dir=tmp_path)


@pytest.fixture
def browser(settings):
    """A browser that has logged in."""
    with caller(settings.model_copy(update={"authentication": "required"})) as client:
        made = wired(client).keys.create("acme", "browser", frozenset({Scope.ADMIN}))
        answer = client.post("/session", json={"key": made.token})
        assert answer.status_code == 201
        yield client


def slug(answer) -> str:
    return answer.json()["type"].removeprefix("/problems/")


def test_the_cookie_stands_for_the_key(browser: TestClient):
    assert browser.get("/session").json()["tenant"] == "acme"
    assert browser.post("/deletions", json=FRANCE, headers=OWN).status_code == 202
    assert len(browser.get("/deletions").json()["items"]) == 1


@pytest.mark.parametrize(
    ("address", "secure"),
    [("http://127.0.0.1:8000", False), ("https://127.0.0.1", True), ("http://r2f.example", True)],
)
def test_the_cookie_is_for_this_site_alone_and_never_travels_in_clear(browser: TestClient, address, secure):
    made = wired(browser).keys.create("acme", "x", frozenset({Scope.ADMIN}))
    answer = TestClient(browser.app, base_url=address).post("/session", json={"key": made.token})
    attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert ("secure" in attributes) is secure
    assert made.token not in answer.headers["set-cookie"] + answer.text


def test_logging_in_with_a_wrong_key_is_refused(browser: TestClient):
    browser.cookies.clear()
    answer = browser.post("/session", json={"key": "r2f_" + "0" * 16 + "_" + "0" * 64})
    assert (answer.status_code, slug(answer)) == (401, "key-refused")
    assert "set-cookie" not in answer.headers


def test_a_session_ends_with_its_key(browser: TestClient):
    wired(browser).keys.revoke(wired(browser).keys.all()[0].id)
    answer = browser.get("/session")
    assert (answer.status_code, slug(answer)) == (401, "session-refused")


def test_a_session_ends_by_itself(browser: TestClient, monkeypatch):
    later = clock.now() + timedelta(minutes=61)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert slug(browser.get("/session")) == "session-refused"


def test_a_forged_cookie_is_refused(browser: TestClient):
    with wired(browser).database.read() as session:
        (row,) = session.scalars(select(BrowserSession))
    for forged in ("0" * 64, browser.cookies[COOKIE][:-1], row.id, row.key_id, "x"):
        browser.cookies.clear()
        browser.cookies.set(COOKIE, forged)
        assert slug(browser.get("/session")) == "session-refused"


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/session"), ("POST", "/ui/logout")])
def test_logging_out_takes_the_cookie_away_and_ends_the_session(browser: TestClient, method: str, path: str):
    kept = browser.cookies[COOKIE]
    answer = browser.request(method, path, headers=OWN, follow_redirects=False)
    assert answer.status_code in (204, 303)
    assert COOKIE not in browser.cookies
    browser.cookies.set(COOKIE, kept)
    assert slug(browser.get("/session")) == "session-refused"


def test_logging_out_ends_no_other_session(browser: TestClient):
    made = wired(browser).keys.create("acme", "x", frozenset({Scope.ADMIN}))
    other = TestClient(browser.app, base_url="http://127.0.0.1:8000")
    assert other.post("/session", json={"key": made.token}).status_code == 201
    assert other.delete("/session", headers=OWN).status_code == 204
    assert browser.get("/session").status_code == 200


def test_a_page_of_another_site_cannot_log_out(browser: TestClient):
    assert browser.delete("/session", headers={"Origin": "https://evil.example"}).status_code == 403
    assert browser.get("/session").status_code == 200


def test_the_database_holds_no_cookie_and_forgets_sessions_that_are_over(browser: TestClient, monkeypatch):
    cookie = browser.cookies[COOKIE]
    with wired(browser).database.read() as session:
        (row,) = session.scalars(select(BrowserSession))
    assert cookie not in (row.id, row.key_id)
    made = wired(browser).keys.create("acme", "x", frozenset({Scope.ADMIN}))
    later = clock.now() + timedelta(minutes=61)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert browser.post("/session", json={"key": made.token}).status_code == 201
    with wired(browser).database.read() as session:
        assert [one.id for one in session.scalars(select(BrowserSession))] != [row.id]
        assert session.scalar(select(func.count()).select_from(BrowserSession)) == 1


@pytest.mark.parametrize(
    "page",
    [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site", **OWN},
     {"Sec-Fetch-Site": "same-site", **OWN}, {"Origin": "http://127.0.0.1:8000.evil.example"}],
)  # fmt: skip
def test_a_page_of_another_site_cannot_change_anything(browser: TestClient, page):
    path = browser.post("/deletions", json=FRANCE, headers=OWN).headers["location"]
    for method, target in (("POST", "/deletions"), ("DELETE", path), ("POST", f"{path}/approve")):
        answer = browser.request(method, target, json=FRANCE, headers=page)
        assert (answer.status_code, slug(answer)) == (403, "cross-site")
    assert browser.get(path).json()["status"] == "queued"


@pytest.mark.parametrize("page", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_nor_through_a_browser_on_this_machine_where_no_key_is_needed(client: TestClient, page):
    path = client.post("/deletions", json=FRANCE).headers["location"]
    assert slug(client.delete(path, headers=page)) == "cross-site"
    assert client.delete(path, headers=OWN).status_code == 200
