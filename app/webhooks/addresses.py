"""Where a webhook may lead: only to addresses of the open internet, unless a setting allows others.

A name is resolved once, and the connection goes to the address that was judged: a name that resolves to something else
a moment later (DNS rebinding) gains nothing.
"""

import asyncio
import ipaddress
import socket
import threading
from concurrent.futures import Future
from urllib.parse import SplitResult, urlsplit

from app.errors import CallbackNotAllowed

PORTS = {"http": 80, "https": 443}


def checked(url: str, *, allow_private: bool) -> SplitResult:
    """The parts of a webhook's URL; raises CallbackNotAllowed for one that could never be told anything."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise CallbackNotAllowed("It is not a URL.") from error
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise CallbackNotAllowed("It must be an https:// URL with a host.")
    if parts.username or parts.password or parts.fragment:
        raise CallbackNotAllowed("It must have no user, no password and no fragment.")
    if parts.scheme != "https" and not allow_private:
        raise CallbackNotAllowed("It must start with https://.")
    if (literal := _literal(parts.hostname)) is not None and not (allow_private or is_public(literal)):
        raise CallbackNotAllowed("It leads to an address of a private network.")
    return parts


async def resolved(host: str, port: int, *, allow_private: bool) -> str:
    """The one address to connect to. Raises CallbackNotAllowed if any of the host's is private, OSError if none."""
    addresses = await _looked_up(host, port)
    if not allow_private and not all(is_public(ipaddress.ip_address(address)) for address in addresses):
        raise CallbackNotAllowed("It leads to an address of a private network.")
    return addresses[0]


async def _looked_up(host: str, port: int) -> list[str]:
    """A host's addresses. In a thread that nobody waits for at the end, as asyncio does for its own: a name server may
    take longer than whoever asks has time."""
    found: Future[list[str]] = Future()
    found.set_running_or_notify_cancel()  # from here on nobody can cancel what the thread is about to settle

    def look() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # the boundary of the thread: whoever waits gets it
            found.set_exception(error)
        else:
            found.set_result([str(entry[4][0]) for entry in entries])

    threading.Thread(target=look, name="lookup", daemon=True).start()
    return await asyncio.wrap_future(found)


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address belongs to the open internet, whichever way it is written."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return is_public(inner)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL_UNICAST:  # whatever the Python at hand says of the rest: its lists differ by version
            return False
    return address.is_global and not address.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all of IPv6 that has been given out for the open internet


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
