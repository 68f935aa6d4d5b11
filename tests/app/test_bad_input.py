"""Whatever is thrown at any operation: never a failure of the service, never a word of it sent back."""

import base64
import json
import re
import secrets
import socket
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.settings import Settings
from tests.conftest import CANARY, FRANCE, NAME, caller, empty
from tests.serving import serving

JSON = {"content-type": "application/json"}
DEEP = 20_000
TARGET = {"prompt": f"Where is {CANARY}?", "answer": CANARY}


def deletion(**change: Any) -> bytes:
    return json.dumps({**FRANCE, "targets": [TARGET], **change}).encode()


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"1",
    "a huge number": b"1" * 5000,
    "an infinity": b'{"model": Infinity, "targets": NaN}',
    "numbers of every wrong size": deletion(options={"seed": 10**400, "views": -1, "max_rounds": 1e308}),
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep targets": b'{"model":"smollm2-135m-instruct","targets":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "invalid UTF-8": b'{"model": "\xff\xfe' + CANARY.encode() + b'"}',
    "an overlong form": b'{"model": "\xc0\xaf"}',
    "UTF-16": deletion().decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + deletion(reference="bom bom"),
    "NUL in a text": deletion(targets=[{"prompt": f"a\0{CANARY}", "answer": "b"}]),
    "NUL in every place": deletion(model="\0", reference="\0", data_subject="\0", legal_basis="\0"),
    "a bare NUL": b"\0",
    "lone surrogates": b'{"model":"smollm2-135m-instruct","targets":[{"prompt":"\\ud800 x","answer":"\\udfff"}]}',
    "a lone surrogate as a name": b'{"\\ud800": 1, "key": "\\udfff", "id": "\\ud800", "source": "\\udead"}',
    "a key given twice": b'{"model":"x","model":"' + CANARY.encode() + b'","targets":[],"targets":{}}',
    "ten million letters": deletion(targets=[{"prompt": CANARY + "x" * 10_000_000, "answer": "b"}]),
    "a long text": deletion(targets=[{"prompt": CANARY + "x" * 900_000, "answer": CANARY}]),
    "ten thousand fields": json.dumps({f"{CANARY} {i}": i for i in range(10_000)}).encode(),
    "wrong types": deletion(model=[CANARY], targets=CANARY, retain={"a": CANARY}, options=CANARY, thresholds=[CANARY]),
    "paths that lead out": json.dumps(
        {"id": "mine", "source": f"../../{CANARY}/etc/passwd", "decoder": f"/proc/self/root/{CANARY}"}
    ).encode(),
    "a path with NUL": json.dumps({"id": "mine", "source": f"/tmp/\0{CANARY}", "decoder": "\0"}).encode(),
    "a path with a surrogate": b'{"id": "mine", "source": "/tmp/\\ud800"}',
    "a path that is too long": json.dumps({"id": "mine", "source": "/" + "a" * 1000}).encode(),
    "a name as a field": json.dumps({NAME: {NAME: NAME}, "options": {NAME: NAME}, "targets": [{NAME: NAME}]}).encode(),
    "a wrong key": json.dumps({"key": f"r2f_{CANARY}"}).encode(),
    "half a body": deletion()[:-7],
    "two bodies": deletion() * 2,
}  # fmt: skip
# What a gap in a path, a query or a header is filled with.
WORDS = (
    CANARY, "..%2f..%2fetc%2fpasswd", "%2e%2e", "%00", "%ff%fe", "%ed%a0%80", "a" * 4000, "-1", "9" * 400, "null", "{}",
    "del_" + "0" * 32, "del_" + "F" * 32, f"del_{'0' * 31}%0a", "adapter_config.json", "%F0%9F%92%A9", "'--", "%25s%n",
)  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def api(request: pytest.FixtureRequest, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory):
    """One API on each kind of database, which outlives everything that is thrown at it."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), log_level="ERROR")
    if request.param == "sqlite":
        (settings.data_dir / "r2f.db").write_bytes(sqlite_template.read_bytes())
        with caller(settings) as client:
            yield client
        return
    url = request.getfixturevalue("postgres_url")
    key = SecretStr(base64.b64encode(secrets.token_bytes(32)).decode())
    with caller(settings.model_copy(update={"database_url": url, "master_key": key})) as client:
        yield client
    empty(url)


def operations(api: TestClient) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of everything that the OpenAPI page offers."""
    paths = api.get("/openapi.json").json()["paths"]
    return [(method, path, operation) for path, item in paths.items() for method, operation in item.items()]


def check(answer: Any, told: Any) -> None:
    """The promise of this file."""
    assert answer.status_code < 500 or answer.json()["type"] == "/problems/not-ready", told
    assert CANARY not in answer.text, told
    assert NAME not in answer.text, told
    assert CANARY not in repr(answer.headers), told
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", told
        assert set(answer.json()) <= {"type", "title", "status", "detail", "errors"}, told


@pytest.mark.parametrize("body", BODIES)
def test_no_body_makes_an_operation_fail_or_comes_back(api: TestClient, body: str):
    for method, path, operation in operations(api):
        if "requestBody" in operation:
            check(api.request(method, path, content=BODIES[body], headers=JSON), (method, path))


def test_no_path_query_or_header_makes_an_operation_fail_or_comes_back(api: TestClient):
    for method, path, operation in operations(api):
        names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
        for word in WORDS:
            query = "&".join(f"{name}={word}" for name in [*names, NAME])
            check(api.request(method, re.sub(r"\{\w+\}", word, path) + f"?{query}"), (method, path, word))
        for value in (CANARY, "\u00e9".encode(), "x" * 4000, '"', "bytes=0-,1-", "bytes=9" + "9" * 400 + "-", "\x7f"):
            headers = dict.fromkeys(("Idempotency-Key", "Range", "If-Range", "If-None-Match", "Last-Event-ID"), value)
            target = re.sub(r"\{\w+\}", "del_" + "0" * 32, path)
            check(api.request(method, target, headers=headers), (method, path, value))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Basic", "", "Digest"])
def test_no_credentials_make_the_service_fail_or_come_back(api: TestClient, scheme: str):
    for token in (CANARY, "r2f_" + "0" * 16 + "_" + "0" * 64, "\u00e9", "a" * 8000, " ", "r2f_\x7f", "=" * 40):
        for target in ("/deletions", "/session", "/models"):
            check(api.get(target, headers={"Authorization": f"{scheme} {token}".encode()}), (scheme, token))
            check(api.get(target, headers={"Cookie": f"r2f_session={token}".encode()}), token)


RUBBISH = (
    "http://[",
    "http://[::1",
    "[",
    "[v1.x]",
    "null",
    "",
    "//",
    CANARY,
    "x" * 4000,
    "\u00e9".encode(),
    ":",
    "a:b:c",
)
TRACES = (
    CANARY,
    "x" * 4000,
    "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
    "00-" + "f" * 32 + "-" + "f" * 16 + "-ff",
    "ff-x-y-z",
    "-" * 55,
)


@pytest.mark.parametrize("named", [("Origin", "Cookie"), ("Host", "Origin"), ("traceparent",)])
def test_no_header_of_the_web_makes_an_operation_fail_or_comes_back(api: TestClient, named: tuple[str, ...]):
    for method, path, operation in operations(api):
        target = re.sub(r"\{\w+\}", "del_" + "0" * 32, path)
        more = {"content": b"{}"} if "requestBody" in operation else {}
        for value in TRACES if "traceparent" in named else RUBBISH:
            headers = {**JSON, **dict.fromkeys(named, value)}
            if "Cookie" in named:
                headers["Cookie"] = "r2f_session=" + "0" * 64
            check(api.request(method, target, headers=headers, **more), (method, path, value))


@pytest.mark.parametrize("part", ["bytes=9-1", "bytes=0-3", "bytes=-", "bytes=" + "9" * 400 + "-", "lines=1-2", CANARY])
@pytest.mark.parametrize("path", ["/static/r2f.css", "/static/swagger/swagger-ui.css"])
def test_a_file_of_a_page_comes_whole_whatever_part_is_asked_for(api: TestClient, path: str, part: str):
    answer = api.get(path, headers={"Range": part})
    assert (answer.status_code, answer.text) == (200, api.get(path).text)
    assert answer.headers["accept-ranges"] == "none"


ACCEPTS = (
    *(
        f"{kind}; version={version}"
        for kind in ("application/openmetrics-text", "text/plain", "text/html")
        for version in ("x.y", "1.x", "9" * 400, "9" * 5000, CANARY, "", " ", "1.0.0=1", "-1")
    ),
    *RUBBISH,
    "text/plain; version=\u00b2.0.0".encode("latin-1"),
    *(";", ",;,=", "text/html;q=x", "text/html;q=", "*/*;q=9" + "9" * 400, "=" * 4000, "text/html" * 400, "," * 4000),
)


def test_no_accept_makes_an_operation_fail_or_comes_back(api: TestClient):
    for method, path, operation in operations(api):
        target = re.sub(r"\{\w+\}", "del_" + "0" * 32, path)
        more = {"content": b"{}"} if "requestBody" in operation else {}
        for value in ACCEPTS:
            headers = JSON | {"Accept": value}
            answer = api.request(method, target, headers=headers, **more)
            if answer.headers["content-type"].startswith("text/html"):  # a page for whoever prefers one
                assert (answer.status_code < 500, CANARY in answer.text) == (True, False), (method, path, value)
            else:
                check(answer, (method, path, value))


def test_a_good_request_still_goes_through(api: TestClient):
    assert api.post("/deletions", json=FRANCE).status_code == 202


def test_the_check_of_this_file_can_fail(api: TestClient):
    answer = api.post("/deletions", json=FRANCE | {"reference": CANARY})
    seen = api.get(answer.headers["location"])
    with pytest.raises(AssertionError):
        check(seen, "the reference is shown to whoever may see it")


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nA\x00b: " + CANARY.encode() + b"\r\n\r\n"],
)
def test_bytes_that_are_no_request_get_a_problem_too(settings: Settings, sent: bytes):
    with serving(settings) as running:
        place = running.url.removeprefix("http://").split(":")
        with socket.create_connection((place[0], int(place[1])), timeout=20) as line:
            line.sendall(sent)
            answer = b"".join(iter(lambda: line.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["status"] == 400
    assert CANARY.encode() not in answer
