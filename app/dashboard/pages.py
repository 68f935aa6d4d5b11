"""The operators' pages that only show: the queue, one deletion, workers, models and the audit log."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator, Field

from app import audit_check, listing
from app.access import Scope
from app.api.deps import TheCaller, TheDeletion, TheServices, needs
from app.audit_check import Fault
from app.audit_views import AuditVerdict
from app.dashboard import overview, reporting
from app.dashboard.actions import DEEDS, Action, possible
from app.dashboard.refusals import PageRoute
from app.dashboard.rendering import page
from app.deadlines import Due
from app.errors import ReportNotReady
from app.models import Deletion, Stage, Status
from app.schemas import ModelId
from app.services import Services
from app.views import DeletionView, ModelView, WorkerView

router = APIRouter(
    include_in_schema=False,
    route_class=PageRoute,
    default_response_class=HTMLResponse,
    dependencies=[needs(Scope.DELETIONS_READ)],
)
PAGE_ROWS = 25
FAULTS = {
    Fault.MISSING: "is missing",
    Fault.EDITED: "is not what was recorded",
    Fault.RELINKED: "does not follow the one before it",
    Fault.TRUNCATED: "is missing: the log ends before its head says so",
    Fault.UNACCOUNTED: "was added behind the log's head",
    Fault.FORGED_HEAD: "is where the log's head was written by somebody else",
    Fault.NOT_THE_ANCHOR: "is not the one that was seen before",
}
Short = Annotated[str, Field(max_length=64)]
Choice = BeforeValidator(lambda value: value or None)  # a form sends what was left open as an empty text


@router.get("/")
def queue(
    services: TheServices,
    caller: TheCaller,
    request: Request,
    status: Annotated[Status | None, Choice, Query()] = None,
    model: Annotated[ModelId | None, Choice, Query()] = None,
    reference: Annotated[Short | None, Choice, Query()] = None,
    due: Annotated[Due | None, Choice, Query()] = None,
    cursor: Annotated[str | None, Query()] = None,
) -> HTMLResponse:
    """What waits, runs and is late; htmx asks for the part that changes."""
    models = [one.id for one in services.registry.all()]
    reference_hash = services.deletions.reference_hash(reference) if reference else None
    wanted = listing.Filter(caller.tenant, status, model, reference_hash, due=due)
    rows, following = listing.page(services.database, wanted, PAGE_ROWS, cursor)
    seen = overview.overview(services.database, caller.tenant, models)
    return page(
        "_queue.html" if "HX-Request" in request.headers else "queue.html",
        caller=caller,
        overview=seen,
        running=[_view(services, row) for row in seen.running],
        rows=[_view(services, row) for row in rows],
        statuses=list(Status),
        chosen={"status": status, "model": model, "reference": reference, "due": due},
        cursor=cursor,
        following=following,
        asked=request.url.query,
    )


@router.get("/ui/deletions/{deletion_id}")
def deletion(
    services: TheServices,
    caller: TheCaller,
    deletion: TheDeletion,
    request: Request,
    done: Annotated[Action | None, Query()] = None,
) -> HTMLResponse:
    """One deletion; htmx asks for the part that changes whenever an event says that it has."""
    return page(
        "_deletion.html" if "HX-Request" in request.headers else "deletion.html",
        caller=caller,
        done=DEEDS[done].done if done else None,
        possible=possible(caller, deletion),
        adapter=DeletionView.of(deletion, None).links.adapter if caller.may(Scope.ADAPTERS_READ) else None,
        row=_view(services, deletion),
        stages=list(Stage),
        events=overview.history(services.database, deletion.id),
        **_report(services, deletion),
    )


@router.get("/ui/workers")
def workers(services: TheServices, caller: TheCaller, request: Request) -> HTMLResponse:
    """Every worker of the last day."""
    return page(
        "_workers.html" if "HX-Request" in request.headers else "workers.html",
        caller=caller,
        workers=[WorkerView.of(worker) for worker in services.workers.known()],
    )


@router.get("/ui/models")
def models(services: TheServices, caller: TheCaller, request: Request) -> HTMLResponse:
    """Every registered model."""
    alive = services.workers.alive()
    return page(
        "_models.html" if "HX-Request" in request.headers else "models.html",
        caller=caller,
        models=[ModelView.of(model, alive) for model in services.registry.all()],
    )


@router.get("/ui/audit", dependencies=[needs(Scope.ADMIN)])
def audit(
    services: TheServices,
    caller: TheCaller,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    check: Annotated[bool, Query()] = False,
) -> HTMLResponse:
    """What happened, newest first, and whether the whole log still is what was recorded, where that is asked."""
    verdict = None
    if check:
        key = services.records.vault.secret("audit")
        verdict = AuditVerdict.of(audit_check.verify(services.database, key))
    events = overview.events(services.database, caller.tenant, PAGE_ROWS * 2, before)
    following = events[-1].id if len(events) == PAGE_ROWS * 2 else None
    return page(
        "audit.html",
        caller=caller,
        events=events,
        before=before,
        following=following,
        verdict=verdict,
        faults=FAULTS,
    )


def _view(services: Services, row: Deletion) -> DeletionView:
    return DeletionView.of(row, services.deletions.reference(row))


def _report(services: Services, row: Deletion) -> dict[str, Any]:
    """What shows the report; `report` is None while there is none."""
    try:
        return reporting.context(row, services.deletions.report(row))
    except ReportNotReady:
        return {"report": None}
