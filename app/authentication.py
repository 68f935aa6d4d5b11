"""Who is calling: told by an API key, by the session of a browser, or by calling from this very machine.

A browser sends a session's cookie, or reaches this machine, without its user's will. So neither is enough to change
something: the browser must also say that the page which calls is this service's own.
"""

from urllib.parse import urlsplit

from starlette.requests import Request

from app.access import LOCAL, Caller, Scope, is_loopback
from app.errors import CrossSite, KeyMissing, KeyRefused, ScopeMissing, SessionRefused
from app.keys import Keys
from app.sessions import Sessions
from app.settings import Settings

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_RELAYED = frozenset({"forwarded", "via", "x-real-ip"})  # and X-Forwarded-*: what proxies add
_REALM = 'Bearer realm="r2f"'


class Authentication:
    """Recognises callers."""

    def __init__(self, keys: Keys, sessions: Sessions, settings: Settings) -> None:
        self._keys = keys
        self._sessions = sessions
        self._settings = settings

    def caller(self, request: Request, token: str | None, cookie: str | None) -> Caller:
        """Who is calling.

        Args:
            token: the API key that was sent, if any; a wrong one is refused even where none is needed.
            cookie: the session's cookie, if any.

        Raises:
            KeyMissing, KeyRefused, SessionRefused: the caller is not known.
            CrossSite: a browser was made to call by a page of another site.
        """
        if token is not None:
            return self._by_key(token)
        caller = self._sessions.holder(cookie) if cookie is not None else None
        if caller is None and self._lets_in(request):
            caller = LOCAL
        if caller is None:
            refusal = KeyMissing if cookie is None else SessionRefused
            raise refusal(headers={"WWW-Authenticate": _REALM})
        refuse_other_sites(request, browser=cookie is not None)
        return caller

    def _by_key(self, token: str) -> Caller:
        caller = self._keys.owner(token)
        if caller is None:
            raise KeyRefused(headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'})
        return caller

    def _lets_in(self, request: Request) -> bool:
        """Whether this call needs no key."""
        match self._settings.authentication:
            case "proxy":
                return True
            case "required":
                return False
            case "off":
                return self._from_this_machine(request)
            case "auto":
                return self._from_this_machine(request) and not self._keys.any()

    def _from_this_machine(self, request: Request) -> bool:
        """Not through a proxy, and under no name that a page elsewhere has bent to this address (DNS rebinding).

        A proxy on this machine that neither passes the caller's `Host` on nor adds a header cannot be told from a
        caller: behind one, `required` is the only safe setting.
        """
        return (
            is_loopback(self._settings.host)
            and request.client is not None
            and is_loopback(request.client.host)
            and is_loopback(_hostname(request))
            and not any(name in _RELAYED or name.startswith("x-forwarded-") for name in request.headers)
        )


def demand(caller: Caller, scope: Scope) -> None:
    """Raise ScopeMissing unless the caller has the scope."""
    if not caller.may(scope):
        challenge = f'{_REALM}, error="insufficient_scope", scope="{scope}"'
        raise ScopeMissing(f"It needs {scope}.", headers={"WWW-Authenticate": challenge})


def refuse_other_sites(request: Request, *, browser: bool) -> None:
    """Refuse what would change something, unless the calling page is this service's own.

    Args:
        browser: the caller is a browser for certain, which says where its page came from.
    """
    if request.method in _SAFE:
        return
    fetch, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if fetch is not None:
        own = fetch in ("same-origin", "none")
    elif origin is not None:
        own = (site := _netloc(origin)) is not None and site == request.headers.get("host")
    else:
        own = not browser
    if not own:
        raise CrossSite


def _hostname(request: Request) -> str:
    """The name under which this service was called; empty where there is none, or none that makes sense.

    Not `request.url`: that takes the server's own address where the `Host` is malformed.
    """
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _netloc(url: str) -> str | None:
    """Host and port of a URL; None where there is none, as in `null`, or no URL."""
    try:
        return urlsplit(url).netloc or None
    except ValueError:
        return None
