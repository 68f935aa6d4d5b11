"""Logging in and out of the pages with an API key; no script is needed for it."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app import errors
from app.api.deps import Counted, TheServices
from app.api.session import forget, remember, would_be_lost
from app.authentication import refuse_other_sites
from app.dashboard.refusals import PageRoute
from app.dashboard.rendering import page
from app.sessions import COOKIE

NO_TLS = "Logging in needs https here: over plain http a browser does not keep the session."
router = APIRouter(include_in_schema=False, route_class=PageRoute, default_response_class=HTMLResponse)


def the_destination(to: Annotated[str, Query(max_length=400)] = "/") -> str:
    """Where to go once logged in: a page of this service, never another site."""
    return to if to.startswith("/") and not to.startswith("//") and "\\" not in to else "/"


TheDestination = Annotated[str, Depends(the_destination)]


@router.get("/ui/login")
def show_login(request: Request, to: TheDestination) -> HTMLResponse:
    """Ask for a key, or say at once that it would be of no use."""
    return page("login.html", to=to, refused=NO_TLS if would_be_lost(request) else None)


@router.post("/ui/login", dependencies=[Counted])
async def log_in(services: TheServices, request: Request, to: TheDestination) -> Response:
    """Open a session, or say that the key does not work."""
    refuse_other_sites(request, browser=True)
    if would_be_lost(request):
        return page("login.html", 403, to=to, refused=NO_TLS)
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    session = services.sessions.open(form.get("key", [""])[0].strip())
    if session is None:
        return page("login.html", 401, to=to, refused=errors.KeyRefused.title())
    response = RedirectResponse(to, status_code=303)
    remember(session, request, response)
    return response


@router.post("/ui/logout", dependencies=[Counted])
def log_out(services: TheServices, request: Request) -> RedirectResponse:
    """End the session, and have the browser forget it."""
    refuse_other_sites(request, browser=True)
    services.sessions.close(request.cookies.get(COOKIE))
    response = RedirectResponse("/ui/login", status_code=303)
    forget(response)
    return response
