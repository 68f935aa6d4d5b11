"""Deletions: submit, list, follow, cancel, and what operators decide.

What is called most often makes its own answer: the framework would take another thread to look at it once more.
"""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, BackgroundTasks, Body, Query, Response

from app import errors, listing
from app.access import Scope
from app.api.deps import JsonBody, TheCaller, TheId, TheKey, TheServices, needs
from app.deadlines import Due
from app.lengths import check_lengths
from app.models import Deletion, Status
from app.openapi import DECIDED, FOLLOWED, PAGED, RECEIPT, WITH_BODY, Responses, problems
from app.schemas import DeletionRequest, ModelId, Reference
from app.services import Services
from app.views import DeletionPage, DeletionView, Receipt, View

router = APIRouter(tags=["deletions"])
POLL_SECONDS = "2"
_ONE = (errors.MalformedId, errors.DeletionNotFound)
_RUNS: Responses = {
    202: {"model": DeletionView, "description": "It runs: its worker will cancel it at the next check."}
}


@router.post(
    "/deletions",
    status_code=202,
    response_model=Receipt,
    summary="Ask a model to forget",
    dependencies=[needs(Scope.DELETIONS_WRITE), JsonBody],
    response_description="Accepted: it is on disk and will be worked on.",
    responses=RECEIPT
    | problems(
        *WITH_BODY,
        errors.MalformedIdempotencyKey,
        errors.RequestInFlight,
        errors.IdempotencyKeyReused,
        errors.InvalidRequest,
        errors.UnknownField,
        errors.UnknownModel,
        errors.NoTargets,
        errors.TooManyTargets,
        errors.BlankAnswer,
        errors.SpanNotInText,
        errors.SpanStartsText,
        errors.RetainedTarget,
        errors.PromptTooLong,
        errors.DecoderRankMismatch,
        errors.UnknownCallback,
        errors.NoDiskSpace,
    ),
)
def submit_deletion(
    body: Annotated[DeletionRequest, Body()],
    services: TheServices,
    caller: TheCaller,
    key: TheKey,
    after: BackgroundTasks,
) -> Response:
    """Accept what must go. The same `Idempotency-Key` and body stand for one deletion, however often they are sent."""
    try:
        model = services.registry.for_deletion(body.model, body.options.sketch_rank)
        check_lengths(body, model, services.settings)
        accepted = services.deletions.submit(caller, body, key)
    except errors.Problem:  # what was accepted once is so still, whatever has changed since
        known = services.deletions.known(caller, body, key) if key else None
        if known is None:
            raise
        accepted = known
    if accepted.created:
        after.add_task(services.bell.ring_if_it_can, accepted.row.id, accepted.row.model)
    headers = {"Location": f"/deletions/{accepted.row.id}", "Retry-After": POLL_SECONDS}
    return _answer(Receipt.of(accepted.row), 202, headers)


@router.get(
    "/deletions",
    response_model=DeletionPage,
    dependencies=[needs(Scope.DELETIONS_READ)],
    summary="List deletions, newest first",
    response_description="A page; its `Link` header points at the next one.",
    responses=PAGED | problems(errors.MalformedCursor, errors.InvalidRequest),
)
def list_deletions(
    services: TheServices,
    caller: TheCaller,
    status: Annotated[Status | None, Query(description="Only with this status.")] = None,
    model: Annotated[ModelId | None, Query(description="Only of this model.")] = None,
    reference: Annotated[Reference | None, Query(description="Only with your case number.")] = None,
    overdue: Annotated[bool | None, Query(description="Only those that are owed and late, or only the others.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Items per page.")] = 20,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> Response:
    """Page through deletions. New ones never shift the pages that follow a cursor."""
    reference_hash = services.deletions.reference_hash(reference) if reference else None
    due = None if overdue is None else Due.OVERDUE if overdue else Due.NOT_OVERDUE
    wanted = listing.Filter(caller.tenant, status, model, reference_hash, due=due)
    rows, following = listing.page(services.database, wanted, limit, cursor)
    headers = {}
    if following is not None:
        query = {
            "status": status,
            "model": model,
            "reference": reference,
            "overdue": overdue,
            "limit": limit,
            "cursor": following,
        }
        given = urlencode({name: value for name, value in query.items() if value is not None})
        headers["Link"] = f'</deletions?{given}>; rel="next"'
    return _answer(DeletionPage(items=[_view(services, row) for row in rows], next=following), headers=headers)


@router.get(
    "/deletions/{deletion_id}",
    response_model=DeletionView,
    dependencies=[needs(Scope.DELETIONS_READ)],
    summary="Follow a deletion",
    responses=problems(*_ONE),
)
def get_deletion(services: TheServices, caller: TheCaller, deletion_id: TheId) -> Response:
    """Status, stage, progress from 0 to 1, times, due date, outcome and links."""
    return _answer(_view(services, services.deletions.get(caller, deletion_id)))


@router.delete(
    "/deletions/{deletion_id}",
    dependencies=[needs(Scope.DELETIONS_WRITE)],
    summary="Cancel a deletion",
    response_description="Canceled.",
    responses=_RUNS | problems(*_ONE, errors.AlreadyFinished),
)
def cancel_deletion(services: TheServices, caller: TheCaller, deletion_id: TheId, response: Response) -> DeletionView:
    """Cancel at once what is queued; a running one shows `cancel_requested` until its worker reaches the next check."""
    row = services.deletions.cancel(caller, deletion_id)
    if row.status is Status.RUNNING:
        response.status_code = 202
    return _view(services, row)


@router.post(
    "/deletions/{deletion_id}/retry",
    status_code=202,
    dependencies=[needs(Scope.ADMIN)],
    summary="Run a failed or canceled deletion again",
    responses=FOLLOWED | problems(*_ONE, errors.NotRetryable),
)
def retry_deletion(
    services: TheServices, caller: TheCaller, deletion_id: TheId, after: BackgroundTasks
) -> DeletionView:
    """Queue it once more, with a fresh budget of runs. The due date stays."""
    row = services.deletions.retry(caller, deletion_id)
    after.add_task(services.bell.ring_if_it_can, row.id, row.model)
    return _view(services, row)


@router.post(
    "/deletions/{deletion_id}/approve",
    dependencies=[needs(Scope.ADMIN)],
    summary="Publish an adapter that needs review",
    responses=DECIDED | problems(*_ONE, errors.NotInReview),
)
def approve_deletion(services: TheServices, caller: TheCaller, deletion_id: TheId) -> DeletionView:
    """Publish the adapter although it missed a threshold; the audit log keeps that an operator did."""
    return _view(services, services.deletions.approve(caller, deletion_id))


@router.post(
    "/deletions/{deletion_id}/reject",
    dependencies=[needs(Scope.ADMIN)],
    summary="Refuse an adapter that needs review",
    responses=DECIDED | problems(*_ONE, errors.NotInReview),
)
def reject_deletion(services: TheServices, caller: TheCaller, deletion_id: TheId) -> DeletionView:
    """Fail the deletion and delete its adapter; the report stays."""
    return _view(services, services.deletions.reject(caller, deletion_id))


def _view(services: Services, row: Deletion) -> DeletionView:
    return DeletionView.of(row, services.deletions.reference(row))


def _answer(view: View, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(view.model_dump_json(), status_code, headers, media_type="application/json")
