"""What the client makes of whatever answers, or does not: problems, redirects, strangers, proxies."""

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from app.client import (
    Client,
    KeyRefused,
    NotUnderstood,
    ServerFailed,
    TooManyRequests,
    Unreachable,
)
from app.client.calls import by_proxy
from app.client.errors import MEDIA_TYPE
from tests.app.conftest import Live


def test_nobody_listens():
    with Client("http://127.0.0.1:9", patience=0) as caller, pytest.raises(Unreachable, match=r"127\.0\.0\.1:9 "):
        list(caller.list())


def test_the_key_is_sent_as_a_bearer_token(httpserver: HTTPServer):
    httpserver.expect_request("/models", headers={"Authorization": "Bearer s3cret"}).respond_with_json({"items": []})
    with Client(httpserver.url_for("/"), key="s3cret") as caller:
        assert caller.models() == []


@pytest.mark.parametrize(
    ("status", "kind"), [(401, KeyRefused), (403, KeyRefused), (429, TooManyRequests), (500, ServerFailed)]
)
def test_a_problem_has_a_type_of_its_own(httpserver: HTTPServer, status: int, kind: type[Exception]):
    problem = {"type": "/problems/some-kind", "title": "Some kind.", "status": status}
    httpserver.expect_request("/models").respond_with_json(problem, status=status, content_type=MEDIA_TYPE)
    with Client(httpserver.url_for("/"), patience=0) as caller, pytest.raises(kind) as wrong:
        caller.models()
    assert str(wrong.value) == "Some kind."


def test_what_passes_is_waited_for_as_long_as_the_service_asks(httpserver: HTTPServer):
    busy = Response("{}", status=503, headers={"Retry-After": "0"}, content_type=MEDIA_TYPE)
    httpserver.expect_ordered_request("/models").respond_with_response(busy)
    httpserver.expect_ordered_request("/models").respond_with_json({"items": []})
    with Client(httpserver.url_for("/")) as caller:
        assert caller.models() == []


@pytest.mark.parametrize("body", ["<html>welcome</html>", '{"items": [{"id": 1}]}'])
def test_another_service_is_not_understood(httpserver: HTTPServer, body: str):
    httpserver.expect_request("/models").respond_with_data(body)
    with Client(httpserver.url_for("/")) as caller, pytest.raises(NotUnderstood):
        caller.models()


def test_a_redirect_is_not_followed_with_the_key(httpserver: HTTPServer):
    httpserver.expect_request("/models").respond_with_data(status=302, headers={"Location": "/elsewhere"})
    with Client(httpserver.url_for("/"), key="s3cret") as caller, pytest.raises(NotUnderstood, match="302"):
        caller.models()
    assert len(httpserver.log) == 1


def test_the_environments_proxy_is_not_between_when_the_service_is_this_machines_own(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Client(live.url) as caller:
        assert caller.models()
    assert by_proxy("https://r2f.example.org")
