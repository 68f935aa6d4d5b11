"""Nobody gets in without a key, or past its scopes, or to another tenant's records."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import select, text

from app import clock
from app.access import Scope, is_loopback
from app.models import AuditEvent
from app.settings import Settings
from tests.conftest import FRANCE, caller, wired

OPEN = {  # what needs no key
    ("get", "/healthz"), ("get", "/readyz"), ("get", "/problems"), ("get", "/problems/{name}"),
    ("post", "/session"), ("delete", "/session"), ("get", "/docs"), ("get", "/metrics"),
    ("get", "/.well-known/jwks.json"),
    ("get", "/ui/login"), ("post", "/ui/login"), ("post", "/ui/logout"),
}  # fmt: skip
SCOPES = {
    ("post", "/deletions"): Scope.DELETIONS_WRITE,
    ("get", "/deletions"): Scope.DELETIONS_READ,
    ("get", "/deletions/{deletion_id}"): Scope.DELETIONS_READ,
    ("delete", "/deletions/{deletion_id}"): Scope.DELETIONS_WRITE,
    ("get", "/deletions/{deletion_id}/events"): Scope.DELETIONS_READ,
    ("get", "/deletions/{deletion_id}/report"): Scope.DELETIONS_READ,
    ("get", "/deletions/{deletion_id}/report/{plot}.png"): Scope.DELETIONS_READ,
    ("get", "/deletions/{deletion_id}/adapter"): Scope.ADAPTERS_READ,
    ("get", "/deletions/{deletion_id}/adapter/{file}"): Scope.ADAPTERS_READ,
    ("head", "/deletions/{deletion_id}/adapter"): Scope.ADAPTERS_READ,
    ("head", "/deletions/{deletion_id}/adapter/{file}"): Scope.ADAPTERS_READ,
    ("post", "/deletions/{deletion_id}/retry"): Scope.ADMIN,
    ("post", "/deletions/{deletion_id}/approve"): Scope.ADMIN,
    ("post", "/deletions/{deletion_id}/reject"): Scope.ADMIN,
    ("post", "/models"): Scope.ADMIN,
    ("post", "/deletions/search"): Scope.DELETIONS_READ,
    ("post", "/deletions/{deletion_id}/extend"): Scope.ADMIN,
    ("delete", "/deletions/{deletion_id}/personal-data"): Scope.ADMIN,
    ("get", "/deletions/{deletion_id}/certificate"): Scope.DELETIONS_READ,
    ("get", "/deletions/{deletion_id}/commitment"): Scope.DELETIONS_READ,
    ("get", "/audit"): Scope.ADMIN,
    ("get", "/audit/verify"): Scope.ADMIN,
    ("get", "/webhooks"): Scope.ADMIN,
    ("post", "/webhooks"): Scope.ADMIN,
    ("delete", "/webhooks/{webhook_id}"): Scope.ADMIN,
    ("post", "/webhooks/{webhook_id}/rotate"): Scope.ADMIN,
    ("get", "/webhooks/{webhook_id}/deliveries"): Scope.ADMIN,
    ("get", "/"): Scope.DELETIONS_READ,
    ("get", "/ui/deletions/{deletion_id}"): Scope.DELETIONS_READ,
    ("get", "/ui/workers"): Scope.DELETIONS_READ,
    ("get", "/ui/models"): Scope.DELETIONS_READ,
    ("get", "/ui/audit"): Scope.ADMIN,
    ("post", "/ui/deletions/{deletion_id}/{action}"): Scope.ADMIN,  # the action `approve`
}


def key(client: TestClient, *scopes: Scope, tenant: str = "acme", **more: object) -> dict[str, str]:
    """The header of a fresh key."""
    made = wired(client).keys.create(tenant, "test", frozenset(scopes), **more)  # type: ignore[arg-type]
    return {"Authorization": f"Bearer {made.token}"}


def filled(path: str) -> str:
    """A path with something in its gaps."""
    return re.sub(r"\{\w+\}", "del_" + "0" * 32, path.replace("{action}", "approve"))


def slug(answer) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["type"].removeprefix("/problems/")


@pytest.fixture
def locked(settings: Settings):
    """An API that asks everybody for a key."""
    with caller(settings.model_copy(update={"authentication": "required"})) as client:
        yield client


@pytest.fixture(scope="module")
def door(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory):
    """One such API for everything that no kind of database makes a difference to."""
    data = tmp_path_factory.mktemp("door")
    (data / "r2f.db").write_bytes(sqlite_template.read_bytes())
    with caller(Settings(data_dir=data, authentication="required")) as client:
        yield client


def operations(client: TestClient) -> set[tuple[str, str]]:
    """Every method and path that is answered, documented or not."""
    contexts = iter_route_contexts(client.app.routes)  # type: ignore[attr-defined]
    found = [context for context in contexts if isinstance(context.original_route, APIRoute)]
    return {(method.lower(), str(context.path)) for context in found for method in context.methods or ()}


def test_every_operation_but_the_open_ones_needs_a_key(door: TestClient):
    closed = operations(door) - OPEN
    assert len(closed) >= len(SCOPES)
    for method, path in closed:
        answer = door.request(method, filled(path), json={}, follow_redirects=False)
        to_login = answer.status_code == 303 and answer.headers["location"].startswith("/ui/login?")  # a page
        assert answer.status_code == 401 or to_login, (method, path)


@pytest.mark.parametrize(("method", "path"), SCOPES)
def test_every_call_needs_its_scope_and_no_other(door: TestClient, method: str, path: str):
    needed = SCOPES[method, path]
    others = key(door, *(set(Scope) - {needed, Scope.ADMIN}))
    refused = door.request(method, filled(path), json={}, headers=others)
    assert refused.status_code == 403
    for enough in (needed, Scope.ADMIN):
        assert door.request(method, filled(path), json={}, headers=key(door, enough)).status_code in (200, 404, 422)


def test_a_refusal_says_which_key_is_wanted(door: TestClient):
    missing = door.get("/deletions")
    assert (slug(missing), missing.headers["www-authenticate"]) == ("key-missing", 'Bearer realm="r2f"')
    narrow = door.get("/deletions", headers=key(door, Scope.DELETIONS_WRITE))
    assert slug(narrow) == "scope-missing"
    assert 'error="insufficient_scope", scope="deletions:read"' in narrow.headers["www-authenticate"]


def test_the_page_for_operators_offers_to_authorise(door: TestClient):
    schema = door.get("/openapi.json").json()
    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert {"key": []} in schema["paths"]["/deletions"]["post"]["security"]
    assert "401" in schema["paths"]["/deletions"]["post"]["responses"]


def forged(token: str) -> str:
    return token[:-1] + ("0" if token[-1] != "0" else "1")


@pytest.mark.parametrize(
    "spoil",
    [forged, str.upper, lambda t: t[:-1], lambda t: t + "0", lambda t: t.replace("r2f_", "r2f_0"), lambda t: "x" * 5000,
     lambda t: "r2f_" + "0" * 16 + t[20:], lambda t: "é", lambda t: "\u0000"],
)  # fmt: skip
def test_a_key_that_was_not_made_here_is_refused_and_not_repeated(door: TestClient, spoil):
    token = spoil(key(door, Scope.ADMIN)["Authorization"].removeprefix("Bearer "))
    answer = door.get("/deletions", headers={"Authorization": f"Bearer {token}".encode()})
    assert (answer.status_code, slug(answer)) == (401, "key-refused")
    assert token not in answer.text


def test_expired_and_revoked_keys_are_refused_like_forged_ones(locked: TestClient):
    good, old = key(locked, Scope.ADMIN), key(locked, Scope.ADMIN, expires_at=clock.now() - timedelta(seconds=1))
    assert locked.get("/session", headers=good).json()["tenant"] == "acme"
    newest = max(wired(locked).keys.all(), key=lambda row: row.expires_at is None)
    wired(locked).keys.revoke(newest.id)
    for header in (good, old):
        answer = locked.get("/session", headers=header)
        assert (answer.status_code, slug(answer), answer.json().get("detail")) == (401, "key-refused", None)


def test_the_secret_is_in_no_table_and_the_use_is_noted_coarsely(locked: TestClient):
    header = key(locked, Scope.ADMIN)
    locked.get("/session", headers=header)
    (row,) = wired(locked).keys.all()
    first = row.last_used_at
    assert first is not None
    locked.get("/session", headers=header)
    (row,) = wired(locked).keys.all()
    assert row.last_used_at == first
    with wired(locked).database.read() as session:
        stored = repr(session.execute(text("SELECT * FROM api_keys")).all())
    assert header["Authorization"].rpartition("_")[2] not in stored


def test_the_audit_log_names_the_key_and_its_tenant(locked: TestClient):
    header = key(locked, Scope.ADMIN)
    (row,) = wired(locked).keys.all()
    locked.post("/deletions", json=FRANCE, headers=header)
    with wired(locked).database.read() as session:
        events = list(session.scalars(select(AuditEvent).order_by(AuditEvent.id)))
    assert [(event.tenant, event.actor, event.action) for event in events] == [
        ("acme", "operator", "key.created"), ("acme", row.id, "deletion.accepted"),
    ]  # fmt: skip


def test_on_this_machine_the_first_key_locks_the_door_and_revoking_it_does_not_open_it(client: TestClient):
    assert client.get("/session").json() == {
        "tenant": "default", "key": None, "scopes": sorted(Scope), "session_ends_at": None,
    }  # fmt: skip
    key(client, Scope.ADMIN)
    assert slug(client.get("/deletions")) == "key-missing"
    wired(client).keys.revoke(wired(client).keys.all()[0].id)
    assert slug(client.get("/deletions")) == "key-missing"


def test_a_wrong_key_is_refused_even_where_none_is_needed(client: TestClient):
    assert client.get("/deletions", headers={"Authorization": "Bearer r2f_wrong"}).status_code == 401


@pytest.mark.parametrize(
    ("host", "address"),
    [("evil.example", "127.0.0.1"), ("127.0.0.1", "203.0.113.7"), ("127.0.0.1.evil.example", "127.0.0.1")],
)
def test_who_only_looks_local_needs_a_key(settings: Settings, host: str, address: str):
    with caller(settings) as local:
        assert local.get("/deletions").status_code == 200
        away = TestClient(local.app, base_url=f"http://{host}:8000", client=(address, 50000))
        assert slug(away.get("/deletions")) == "key-missing"


@pytest.mark.parametrize("authentication", ["auto", "off"])
@pytest.mark.parametrize(
    "name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Via"]
)
def test_what_a_proxy_has_passed_on_is_not_local(settings: Settings, authentication: str, name: str):
    with caller(settings.model_copy(update={"authentication": authentication})) as local:
        assert local.get("/deletions").status_code == 200
        for value in ("203.0.113.7", "127.0.0.1", ""):
            assert slug(local.get("/deletions", headers={name: value})) == "key-missing"


@pytest.mark.parametrize(
    "host", ["", "[", "evil.example:", "evil.example:x", "evil.example:99999", "127.0.0.1@evil.example"]
)
def test_a_host_that_makes_no_sense_is_not_local(client: TestClient, host: str):
    assert slug(client.get("/deletions", headers={"Host": host})) == "key-missing"


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "null", "", "//", "http://127.0.0.1:8000.evil.example"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/session"), ("DELETE", "/session"), ("POST", "/deletions")])
def test_an_origin_that_makes_no_sense_is_foreign(client: TestClient, method: str, path: str, origin: str):
    body = {"key": "r2f_x"} if path == "/session" else FRANCE
    answer = client.request(method, path, json=body, headers={"Origin": origin})
    assert (answer.status_code, slug(answer)) == (403, "cross-site")


@pytest.mark.parametrize("path", ["/ui/login", "/ui/logout"])
def test_nor_does_one_get_past_a_page(client: TestClient, path: str):
    assert client.post(path, data={"key": "x"}, headers={"Origin": "http://["}).status_code == 403


def test_beyond_loopback_everybody_needs_a_key_unless_a_proxy_asks(settings: Settings):
    with caller(settings.model_copy(update={"host": "0.0.0.0"})) as exposed:
        assert slug(exposed.get("/deletions")) == "key-missing"
    with caller(settings.model_copy(update={"host": "0.0.0.0", "authentication": "proxy"})) as behind:
        assert behind.get("/deletions").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_addresses_are_known(host: str):
    assert is_loopback(host)
    Settings(host=host, authentication="off")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_no_other_address_is_served_without_authentication(host: str):
    assert not is_loopback(host)
    with pytest.raises(ValueError, match="r2f keys create"):
        Settings(host=host, authentication="off")


def test_a_new_operation_that_needs_a_scope_is_listed_here(door: TestClient):
    whoever = {("get", "/models"), ("get", "/models/{model_id}"), ("get", "/session")}
    assert operations(door) == OPEN | whoever | set(SCOPES)
