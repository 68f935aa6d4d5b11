"""Where webhooks may lead: to the open internet, and to the address that was judged."""

import asyncio
import ipaddress

import pytest
from fastapi.testclient import TestClient
from pytest_httpserver import HTTPServer

from app.errors import CallbackNotAllowed
from app.webhooks.addresses import checked, is_public, resolved
from tests.app.webhooks.conftest import courier_of, log, registered, settled
from tests.conftest import wired

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "192.168.0.1",
    "172.16.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "::1",
    "fe80::1",
    "fc00::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fec0::1",
    "64:ff9b:1::5db8:d822",
    "::127.0.0.1",
    "::93.184.216.34",
    "4000::1",
    "2001:db8::1",
    "2001:0:5db8:d822::80ff:fffe",
    "::",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_told_from_public_ones(address: str):
    assert not is_public(ipaddress.ip_address(address))
    bare = f"[{address}]" if ":" in address else address
    with pytest.raises(CallbackNotAllowed):
        checked(f"https://{bare}/told", allow_private=False)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822", "2002:5db8:d822::"]
)
def test_public_addresses_are_allowed(address: str):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x",
        "https://user:pass@example.com/",  # pragma: allowlist secret
        "https:///x",
        "https://example.com:0/",
        "https://[::1/",
    ],
)
def test_addresses_that_make_no_sense_are_refused(url: str):
    with pytest.raises(CallbackNotAllowed):
        checked(url, allow_private=False)


def test_a_name_that_resolves_to_this_machine_is_refused_when_it_is_called():
    with pytest.raises(CallbackNotAllowed):
        asyncio.run(resolved("localhost", 443, allow_private=False))


def test_a_private_address_behind_a_name_is_never_called(client: TestClient, receiver: HTTPServer):
    webhook = registered(client, f"http://localhost:{receiver.port}/told")
    settled(client, webhook["url"])
    services = wired(client)
    courier = courier_of(services)
    courier._allow_private = False
    courier.sweep()
    assert receiver.log == []
    assert log(client, webhook["id"])[0]["last_error"] == "not_allowed"


def test_the_connection_goes_to_the_address_that_was_judged(
    client: TestClient, receiver: HTTPServer, monkeypatch: pytest.MonkeyPatch
):
    receiver.expect_request("/told").respond_with_data()
    answers = iter([receiver.host])

    async def resolve(_host: str, _port: int, **_: bool) -> str:
        return next(answers)  # a second look would fail

    monkeypatch.setattr("app.webhooks.courier.resolved", resolve)
    webhook = registered(client, f"http://rebinding.example:{receiver.port}/told")
    settled(client, webhook["url"])
    courier_of(wired(client)).sweep()
    ((request, _),) = receiver.log
    assert request.headers["host"] == f"rebinding.example:{receiver.port}"
