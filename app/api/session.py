"""Browser sessions: log in with an API key, see who is logged in, log out."""

from fastapi import APIRouter, Request, Response

from app import clock, errors
from app.access import is_loopback
from app.api.deps import Counted, JsonBody, TheCaller, TheServices
from app.authentication import refuse_other_sites
from app.openapi import WITH_BODY, problems
from app.schemas import Login
from app.sessions import COOKIE, Session
from app.views import CallerView

router = APIRouter(tags=["session"])


@router.post(
    "/session",
    status_code=201,
    summary="Log in",
    dependencies=[Counted, JsonBody],
    response_description="Logged in; the cookie is for this browser alone and cannot be read by scripts.",
    responses=problems(
        *WITH_BODY,
        errors.InvalidRequest,
        errors.UnknownField,
        errors.KeyRefused,
        errors.CrossSite,
        errors.TooManyRequests,
    ),
)
def log_in(body: Login, services: TheServices, request: Request, response: Response) -> CallerView:
    """Exchange an API key for a cookie that works as long as the key does, but for a short time only."""
    refuse_other_sites(request, browser=False)
    session = services.sessions.open(body.key.get_secret_value())
    if session is None:
        raise errors.KeyRefused(headers={"WWW-Authenticate": "Bearer"})
    remember(session, request, response)
    return CallerView.of(session.caller, session.expires_at)


@router.get("/session", summary="Who am I?", responses=problems())
def get_session(caller: TheCaller) -> CallerView:
    """The tenant and scopes of whoever calls, by key or by cookie."""
    return CallerView.of(caller)


@router.delete(
    "/session",
    status_code=204,
    summary="Log out",
    dependencies=[Counted],
    responses=problems(errors.CrossSite, errors.TooManyRequests),
)
def log_out(services: TheServices, request: Request, response: Response) -> None:
    """End the session: its cookie opens nothing any more, and the browser forgets it."""
    refuse_other_sites(request, browser=False)
    services.sessions.close(request.cookies.get(COOKIE))
    forget(response)


def remember(session: Session, request: Request, response: Response) -> None:
    """Have the browser keep its session, out of reach of scripts and of other sites."""
    response.set_cookie(
        COOKIE,
        session.cookie,
        max_age=int((session.expires_at - clock.now()).total_seconds()),
        httponly=True,
        samesite="strict",
        # Without TLS the cookie leaves this machine never: a browser neither keeps nor sends it.
        secure=_needs_tls(request),
    )


def would_be_lost(request: Request) -> bool:
    """Whether the browser would drop the cookie: its page came without TLS, from another machine.

    A proxy that ends TLS may not say so. The browser does: by its page's origin, and because it tells plain addresses
    nothing of what fetches them.
    """
    origin, fetch = request.headers.get("origin", ""), request.headers.get("sec-fetch-site")
    by_tls = request.url.scheme == "https" or origin.startswith("https://") or fetch is not None
    return _needs_tls(request) and not by_tls


def _needs_tls(request: Request) -> bool:
    return request.url.scheme == "https" or not is_loopback(request.url.hostname or "")


def forget(response: Response) -> None:
    """Have the browser drop its session."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
