"""What operators do from the pages: decide, cancel, retry. Each is one call, and its answer is the deletion's page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fastapi import APIRouter, BackgroundTasks
from fastapi.responses import HTMLResponse, RedirectResponse

from app.access import Caller, Scope
from app.api.deps import TheCaller, TheId, TheServices
from app.authentication import demand
from app.dashboard.refusals import PageRoute
from app.deletions import Deletions
from app.models import Deletion, Status
from app.transitions import TRANSITIONS, Event

router = APIRouter(include_in_schema=False, route_class=PageRoute, default_response_class=HTMLResponse)


class Action(StrEnum):
    """What an operator can do with a deletion."""

    APPROVE = "approve"
    REJECT = "reject"
    RETRY = "retry"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Deed:
    """An action: when it is possible, who may do it, and what is said before and after."""

    event: Event
    scope: Scope
    do: Callable[[Deletions, Caller, str], Deletion]
    question: str  # asked before what cannot be taken back; empty where that is easy
    done: str


DEEDS: Mapping[Action, Deed] = {
    Action.APPROVE: Deed(
        Event.APPROVE,
        Scope.ADMIN,
        Deletions.approve,
        "Publish this adapter although it is held back? The audit log keeps that you did.",
        "Approved: the adapter is published.",
    ),
    Action.REJECT: Deed(
        Event.REJECT,
        Scope.ADMIN,
        Deletions.reject,
        "Refuse this adapter? It is deleted; the report stays.",
        "Rejected: the adapter is deleted, the report stays.",
    ),
    Action.RETRY: Deed(Event.RETRY, Scope.ADMIN, Deletions.retry, "", "Queued once more, with a fresh budget of runs."),
    Action.CANCEL: Deed(
        Event.CANCEL,
        Scope.DELETIONS_WRITE,
        Deletions.cancel,
        "Cancel this deletion? What must be forgotten stays known to the model.",
        "Canceled, or about to be: a running one ends at its worker’s next check.",
    ),
}


def possible(caller: Caller, row: Deletion) -> list[tuple[Action, Deed]]:
    """What this caller can do with the deletion as it stands."""
    return [
        (action, deed)
        for action, deed in DEEDS.items()
        if (row.status, deed.event) in TRANSITIONS
        and caller.may(deed.scope)
        and not (row.status is Status.RUNNING and row.cancel_requested)
        and not (action is Action.RETRY and row.purged_at is not None)
    ]


@router.post("/ui/deletions/{deletion_id}/{action}")
def act(
    services: TheServices, caller: TheCaller, deletion_id: TheId, action: Action, after: BackgroundTasks
) -> RedirectResponse:
    """Do it, and show the deletion; where it cannot be done, a page says why and nothing has changed."""
    deed = DEEDS[action]
    demand(caller, deed.scope)
    row = deed.do(services.deletions, caller, deletion_id)
    if row.status is Status.QUEUED:
        after.add_task(services.bell.ring_if_it_can, row.id, row.model)
    return RedirectResponse(f"/ui/deletions/{deletion_id}?done={action}", status_code=303)
