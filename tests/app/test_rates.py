"""A key that calls too often is told when to come back; whoever counts, and whether or not Redis answers."""

import time

import pytest
from fastapi.testclient import TestClient

from app.access import LOCAL, Caller, Scope
from app.errors import TooManyRequests
from app.rates import Rates
from app.settings import Settings
from tests.conftest import caller, wired

ONE, OTHER = (Caller("acme", frozenset(Scope), f"key_{number}") for number in (1, 2))


@pytest.fixture(autouse=True)
def _within_a_minute() -> None:
    """Counts are of the clock's minutes, and one that has just ended counts in part only: no test straddles its end."""
    left = 60 - time.time() % 60
    if left < 10:
        time.sleep(left + 1)


def used_up(rates: Rates, who: Caller, limit: int) -> TooManyRequests:
    """What a caller hears after as many calls as it has."""
    for _ in range(limit):
        rates.count(who)
    with pytest.raises(TooManyRequests) as refused:
        rates.count(who)
    return refused.value


def test_each_key_has_its_own_minute(settings: Settings):
    rates = Rates(settings.model_copy(update={"rate_limit": 3}))
    assert 1 <= int(used_up(rates, ONE, 3).headers["Retry-After"]) <= 120
    used_up(rates, OTHER, 3)
    for _ in range(10):
        rates.count(LOCAL)


def test_processes_that_share_a_redis_share_the_count(settings: Settings):
    limited = settings.model_copy(update={"rate_limit": 3})
    used_up(Rates(limited), ONE, 3)
    neighbour = Rates(limited)
    if settings.broker_url.startswith("redis"):
        with pytest.raises(TooManyRequests):
            neighbour.count(ONE)
    else:
        neighbour.count(ONE)


def test_without_its_redis_each_process_counts_alone():
    rates = Rates(Settings(broker_url="redis://127.0.0.1:1/0", rate_limit=3))
    used_up(rates, ONE, 3)


def test_the_caller_is_told_how_long_to_wait(settings: Settings):
    with caller(settings.model_copy(update={"rate_limit": 2})) as client:
        made = wired(client).keys.create("acme", "x", frozenset({Scope.DELETIONS_READ}))
        header = {"Authorization": f"Bearer {made.token}"}
        answers = [client.get("/deletions", headers=header) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].json()["type"] == "/problems/too-many-requests"
    assert int(answers[-1].headers["retry-after"]) >= 1


WRONG = {"Authorization": "Bearer r2f_" + "0" * 16 + "_" + "0" * 64}


@pytest.mark.parametrize(
    ("method", "path", "usual"),
    [
        ("GET", "/deletions", 401),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("POST", "/session", 401),
        ("GET", "/.well-known/jwks.json", 200),
        ("GET", "/session", 401),
    ],
)
def test_an_address_without_a_key_has_a_minute_of_its_own(settings: Settings, method: str, path: str, usual: int):
    limits = {"stranger_limit": 3, "authentication": "required"}
    with caller(settings.model_copy(update=limits), **WRONG) as stranger:
        body = {"key": "r2f_x"} if method == "POST" else None
        answers = [stranger.request(method, path, json=body).status_code for _ in range(4)]
        assert answers == [usual, usual, usual, 429]
        assert stranger.get("/healthz").status_code == 200
        made = wired(stranger).keys.create("acme", "x", frozenset(Scope))
        known = {"Authorization": f"Bearer {made.token}"}
        assert stranger.get("/deletions", headers=known).status_code == 200  # no stranger can lock a key out


UNREAD = {"nothing": b"{", "no text": b'{"model": "\xff"}', "depth": b"[" * 100_000}


@pytest.mark.parametrize("body", UNREAD)
@pytest.mark.parametrize("path", ["/deletions", "/session", "/webhooks"])
def test_a_body_that_cannot_be_read_is_a_call_like_any_other(settings: Settings, path: str, body: str):
    limits = {"stranger_limit": 3, "rate_limit": 3, "authentication": "required"}
    with caller(settings.model_copy(update=limits)) as client:
        made = wired(client).keys.create("acme", "x", frozenset(Scope))
        for who in (WRONG, {}, {"Authorization": f"Bearer {made.token}"}):
            headers = {"content-type": "application/json", **who}
            answers = [client.post(path, content=UNREAD[body], headers=headers).status_code for _ in range(4)]
            assert answers == ([429] * 4 if who == {} else [400, 400, 400, 429]), "one address, with or without a key"
        assert client.get("/deletions", headers=headers).status_code == 429


@pytest.mark.parametrize(
    ("method", "path", "usual"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/static/nowhere", 404),
        ("PUT", "/deletions", 405),
        ("POST", "/healthz", 405),
        ("DELETE", "/static/r2f.css", 405),
        ("GET", "/deletions?sometimes=1", 422),
        ("GET", "/readyz?sometimes=1", 422),
    ],
)
def test_a_call_that_leads_nowhere_is_a_call_like_any_other(settings: Settings, method: str, path: str, usual: int):
    limits = {"stranger_limit": 3, "rate_limit": 3, "authentication": "required"}
    with caller(settings.model_copy(update=limits)) as client:
        made = wired(client).keys.create("acme", "x", frozenset(Scope))
        for who in (WRONG, {"Authorization": f"Bearer {made.token}"}):
            answers = [client.request(method, path, headers=who).status_code for _ in range(4)]
            assert answers == [usual, usual, usual, 429]


@pytest.mark.parametrize("path", ["/healthz", "/problems", "/problems/x", "/openapi.json", "/docs", "/ui/login"])
def test_what_asks_nothing_of_the_database_is_free(settings: Settings, path: str):
    limits = {"stranger_limit": 1, "authentication": "required"}
    with caller(settings.model_copy(update=limits), **WRONG) as client:
        assert {client.get(path).status_code for _ in range(4)} <= {200, 404}


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_a_call_like_any_other(settings: Settings, declared: bool):
    limits = {"stranger_limit": 3, "rate_limit": 3, "authentication": "required", "body_limit": 1024}
    with caller(settings.model_copy(update=limits)) as client:
        made = wired(client).keys.create("acme", "x", frozenset(Scope))
        for who in (WRONG, {"Authorization": f"Bearer {made.token}"}):
            answers = []
            for _ in range(4):
                content = b" " * 2000 if declared else iter([b" " * 1000] * 2)
                answers.append(client.post("/deletions", content=content, headers=who))
            assert [answer.status_code for answer in answers] == [413, 413, 413, 429]
            assert {answer.headers["connection"] for answer in answers} == {"close"}


@pytest.mark.parametrize("path", ["/healthz", "/deletions", "/nowhere", "/openapi.json", "/docs", "/", "/problems"])
def test_every_answer_tells_browsers_to_take_care(client: TestClient, path: str):
    headers = client.get(path).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] in ("no-referrer", "same-origin")
    assert headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in headers


def test_over_tls_browsers_are_told_to_stay_there(client: TestClient):
    assert "max-age=31536000" in client.get("https://127.0.0.1:8000/healthz").headers["strict-transport-security"]
