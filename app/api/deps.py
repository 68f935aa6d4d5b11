"""What endpoints depend on, as nouns."""

import re
from typing import Annotated

from fastapi import Depends, Header, Path, Request

from app import idempotency
from app.clock import DELETION_ID
from app.errors import MalformedId, UnsupportedMediaType
from app.models import Deletion
from app.services import Services
from app.settings import Settings

EXAMPLE_ID = "del_019a0c5e7d6b7f3a9c1e2b4d6f8a0b1c"


def the_services(request: Request) -> Services:
    """The parts that the application was made with."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


def the_settings(services: Annotated[Services, Depends(the_services)]) -> Settings:
    """The settings that the application was made with."""
    return services.settings


def the_id(
    deletion_id: Annotated[
        str, Path(description="Id of a deletion.", json_schema_extra={"pattern": DELETION_ID}, examples=[EXAMPLE_ID])
    ],
) -> str:
    """A deletion's id of the right form."""
    if not re.fullmatch(DELETION_ID, deletion_id):
        raise MalformedId("A deletion's id is del_ and 32 hexadecimal digits.")
    return deletion_id


def the_key(
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


def json_body(request: Request) -> None:
    """Refuse a body that is not sent as JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType


TheServices = Annotated[Services, Depends(the_services)]
TheSettings = Annotated[Settings, Depends(the_settings)]
TheId = Annotated[str, Depends(the_id)]
TheKey = Annotated[str | None, Depends(the_key)]


def the_deletion(services: TheServices, deletion_id: TheId) -> Deletion:
    """The deletion of the path, or a 404."""
    return services.deletions.get(deletion_id)


TheDeletion = Annotated[Deletion, Depends(the_deletion)]
JsonBody = Depends(json_body)
