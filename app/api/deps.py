"""What endpoints depend on, as nouns.

What waits for nothing is `async`: it runs where it is asked for, and spares the request a journey to a thread and back.
"""

import re
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app import idempotency
from app.access import Caller, Scope
from app.authentication import demand
from app.clock import DELETION_ID
from app.errors import KeyMissing, KeyRefused, MalformedId, SessionRefused, UnsupportedMediaType
from app.models import Deletion
from app.schemas import MODEL_ID
from app.services import Services
from app.sessions import COOKIE
from app.settings import Settings

EXAMPLE_ID = "del_019a0c5e7d6b7f3a9c1e2b4d6f8a0b1c"


_BEARER = HTTPBearer(
    auto_error=False, scheme_name="key", bearerFormat="r2f_…", description="An API key, made with `r2f keys create`."
)
_COOKIE = APIKeyCookie(
    name=COOKIE, auto_error=False, scheme_name="session", description="What `POST /session` gives a browser."
)


async def the_services(request: Request) -> Services:
    """The parts that the application was made with."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


async def the_settings(services: Annotated[Services, Depends(the_services)]) -> Settings:
    """The settings that the application was made with."""
    return services.settings


async def the_id(
    deletion_id: Annotated[
        str, Path(description="Id of a deletion.", json_schema_extra={"pattern": DELETION_ID}, examples=[EXAMPLE_ID])
    ],
) -> str:
    """A deletion's id of the right form."""
    if not re.fullmatch(DELETION_ID, deletion_id):
        raise MalformedId("A deletion's id is del_ and 32 hexadecimal digits.")
    return deletion_id


async def the_model_id(
    model_id: Annotated[
        str,
        Path(description="Id of a model.", json_schema_extra={"pattern": MODEL_ID}, examples=["smollm2-135m-instruct"]),
    ],
) -> str:
    """A model's id of the right form."""
    if not re.fullmatch(MODEL_ID, model_id):
        raise MalformedId("A model's id is up to 64 lowercase letters, digits, dots, dashes and underscores.")
    return model_id


async def known_query(request: Request) -> None:
    """Refuse a query parameter that the call's documentation does not name: a misspelt filter would be no filter."""
    if not request.query_params:
        return
    method = "get" if request.method == "HEAD" else request.method.lower()
    operation = request.app.openapi()["paths"][request.scope["route"].path][method]
    known = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        await run_in_threadpool(count_caller, request)  # nobody has asked yet who calls
        message = f"is not a parameter of this call, which has {', '.join(sorted(known)) or 'none'}"
        raise RequestValidationError(
            [{"type": "unknown_parameter", "loc": ("query", name), "msg": message} for name in unknown]
        )


async def the_key(
    request: Request,
    _documented: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1 to 255 visible ASCII characters. The same key and body stand for one deletion.",
        ),
    ] = None,
) -> str | None:
    """The Idempotency-Key, if there is one."""
    return idempotency.parse_key(request.headers.getlist("idempotency-key"))


async def json_body(request: Request) -> None:
    """Refuse a body that is not sent as JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType


TheServices = Annotated[Services, Depends(the_services)]
TheSettings = Annotated[Settings, Depends(the_settings)]
TheId = Annotated[str, Depends(the_id)]
TheModelId = Annotated[str, Depends(the_model_id)]
TheKey = Annotated[str | None, Depends(the_key)]


def the_caller(
    request: Request,
    services: TheServices,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    cookie: Annotated[str | None, Depends(_COOKIE)],
) -> Caller:
    """Who is calling, or a 401; a 429 when that key, or an address without one, has called too often."""
    try:
        caller = services.authentication.caller(request, bearer.credentials if bearer else None, cookie)
    except (KeyMissing, KeyRefused, SessionRefused):
        count_stranger(request, services)
        raise
    request.state.caller = caller
    services.rates.count(caller)
    return caller


def count_stranger(request: Request, services: TheServices) -> None:
    """Let an address make so many calls a minute without a key."""
    services.rates.count_stranger(request.client.host if request.client else "unknown")


def the_caller_if_known(request: Request, services: TheServices) -> Caller | None:
    """Who is calling, if that can be told: not without a key, nor while the database is away."""
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    bearer = HTTPAuthorizationCredentials(scheme=scheme, credentials=token) if scheme.lower() == "bearer" else None
    try:
        return the_caller(request, services, bearer, request.cookies.get(COOKIE))
    except (KeyMissing, KeyRefused, SessionRefused, SQLAlchemyError):
        return None


def count_caller(request: Request) -> None:
    """Count a call that is refused before it asks who calls."""
    the_caller_if_known(request, request.app.state.services)


TheCaller = Annotated[Caller, Depends(the_caller)]
MaybeCaller = Annotated[Caller | None, Depends(the_caller_if_known)]
Counted = Depends(count_stranger)


def needs(scope: Scope) -> Any:
    """A dependency that answers with a 403 unless the caller has the scope."""

    async def allowed(caller: TheCaller) -> None:
        demand(caller, scope)

    return Depends(allowed)


def the_deletion(services: TheServices, caller: TheCaller, deletion_id: TheId) -> Deletion:
    """The deletion of the path, or a 404; another tenant's is a 404 too."""
    return services.deletions.get(caller, deletion_id)


TheDeletion = Annotated[Deletion, Depends(the_deletion)]
JsonBody = Depends(json_body)
