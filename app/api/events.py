"""A deletion as it happens: server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app import errors
from app.access import Scope
from app.api.deps import TheDeletion, TheServices, needs
from app.models import Deletion
from app.openapi import Responses, problems
from app.services import Services
from app.views import DeletionView
from app.watching import state_of

router = APIRouter(tags=["deletions"])
RECONNECT_MILLISECONDS = 2000
_ENDED: Responses = {204: {"description": "The deletion has finished and the caller has seen its last event."}}


def version(row: Deletion) -> str:
    """What names a state of the deletion: the id of its event."""
    updated_at, waiting = state_of(row)
    return f"{updated_at.isoformat()} {waiting}" if waiting else updated_at.isoformat()


def the_last_seen(
    deletion: TheDeletion,
    response: Response,
    last_event_id: Annotated[str | None, Header(description="Id of the last event that was received.")] = None,
) -> str | None:
    """The state that the caller has seen; where nothing will follow it, 204 tells a browser to stay away."""
    if deletion.finished_at is not None and last_event_id == version(deletion):
        response.status_code = 204
    return last_event_id


@router.get(
    "/deletions/{deletion_id}/events",
    dependencies=[needs(Scope.DELETIONS_READ)],
    summary="Follow a deletion live",
    response_class=EventSourceResponse,
    response_description="Events named `deletion`, each with the whole deletion as `GET /deletions/{id}` answers it.",
    responses=_ENDED | problems(errors.MalformedId, errors.DeletionNotFound),
)
async def follow_deletion(
    services: TheServices, deletion: TheDeletion, last_seen: Annotated[str | None, Depends(the_last_seen)]
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: the deletion now, and again after each change, until it has finished.

    An event holds the whole state, so the newest one makes up for any that were missed. Send the id of the last one as
    `Last-Event-ID` to hear only of what has changed since. After 15 minutes the stream ends and may be resumed.
    """
    async for row in services.watcher.follow(deletion):
        if version(row) != last_seen:
            yield _event(services, row)


def _event(services: Services, row: Deletion) -> ServerSentEvent:
    view = DeletionView.of(row, services.deletions.reference(row))
    return ServerSentEvent(event="deletion", data=view, id=version(row), retry=RECONNECT_MILLISECONDS)
