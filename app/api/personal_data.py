"""Personal data: find what is held of somebody, destroy what a request said, and move its due date."""

from typing import Annotated

from fastapi import APIRouter, Body

from app import errors, listing
from app.access import Scope
from app.api.deps import JsonBody, TheCaller, TheId, TheServices, needs
from app.openapi import WITH_BODY, problems
from app.schemas import DueDateExtension, SubjectSearch
from app.views import DeletionPage, DeletionView

router = APIRouter(tags=["personal data"])
_ONE = (errors.MalformedId, errors.DeletionNotFound)


@router.post(
    "/deletions/search",
    dependencies=[needs(Scope.DELETIONS_READ), JsonBody],
    summary="Find the deletions of a data subject",
    responses=problems(*WITH_BODY, errors.MalformedCursor, errors.InvalidRequest, errors.UnknownField),
)
def search_deletions(services: TheServices, caller: TheCaller, body: Annotated[SubjectSearch, Body()]) -> DeletionPage:
    """Deletions whose request named this data subject, newest first. The name travels in the body: addresses end up in
    access logs, histories and proxies, and the service itself knows it by a keyed hash only."""
    wanted = listing.Filter(caller.tenant, subject_hash=services.deletions.subject_hash(body.data_subject))
    rows, following = listing.page(services.database, wanted, body.limit, body.cursor)
    items = [DeletionView.of(row, services.deletions.reference(row)) for row in rows]
    return DeletionPage(items=items, next=following)


@router.delete(
    "/deletions/{deletion_id}/personal-data",
    dependencies=[needs(Scope.ADMIN)],
    summary="Destroy what a request said",
    responses=problems(*_ONE, errors.NotPurgeable),
)
def purge_deletion(services: TheServices, caller: TheCaller, deletion_id: TheId) -> DeletionView:
    """Destroy the key of the request and of its evidence now, instead of after the grace period. Figures, certificate
    and adapter stay. Copies of the database hold the key until the next `r2f seal rotate`."""
    row = services.deletions.purge(caller, deletion_id)
    return DeletionView.of(row, services.deletions.reference(row))


@router.post(
    "/deletions/{deletion_id}/extend",
    dependencies=[needs(Scope.ADMIN), JsonBody],
    summary="Extend the due date",
    responses=problems(*_ONE, *WITH_BODY, errors.NotExtendable, errors.InvalidRequest, errors.UnknownField),
)
def extend_deletion(
    services: TheServices, caller: TheCaller, deletion_id: TheId, body: Annotated[DueDateExtension, Body()]
) -> DeletionView:
    """Move the due date by one or two months, once, for one of the two reasons that GDPR article 12(3) knows. Telling
    the data subject so is left to the caller."""
    row = services.deletions.extend(caller, deletion_id, body.months, body.reason)
    return DeletionView.of(row, services.deletions.reference(row))
