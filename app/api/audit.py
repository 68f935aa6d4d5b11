"""The audit log: read it, and check that it holds."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

from app import audit_check, audit_pages, errors
from app.access import Scope
from app.api.deps import TheCaller, TheServices, needs
from app.audit_views import AuditPage, AuditVerdict
from app.clock import DELETION_ID
from app.openapi import PAGED, problems

router = APIRouter(tags=["operations"], dependencies=[needs(Scope.ADMIN)])


@router.get(
    "/audit", summary="Read the audit log", responses=PAGED | problems(errors.MalformedCursor, errors.InvalidRequest)
)
def list_events(
    services: TheServices,
    caller: TheCaller,
    response: Response,
    deletion: Annotated[str | None, Query(pattern=DELETION_ID, description="Only of this deletion.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Items per page.")] = 20,
    cursor: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> AuditPage:
    """What happened to the caller's own deletions, newest first, in ids and codes."""
    rows, following = audit_pages.page(services.database, caller.tenant, deletion, limit, cursor)
    if following is not None:
        query = {"deletion": deletion, "limit": limit, "cursor": following}
        given = urlencode({name: value for name, value in query.items() if value is not None})
        response.headers["Link"] = f'</audit?{given}>; rel="next"'
    return AuditPage.of(rows, following)


@router.get("/audit/verify", summary="Check the audit log", responses=problems(errors.InvalidRequest))
def verify_log(
    services: TheServices,
    sequence: Annotated[
        int | None, Query(ge=1, le=2**53 - 1, description="With `hash`: an event as you have seen it before.")
    ] = None,
    hash: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$", description="Its hash.")] = None,
) -> AuditVerdict:
    """Follow the whole chain, over all tenants, and name the first link that does not hold.

    A certificate's `audit_head` finds out a log that was put back to an earlier state together with its head.
    """
    if (sequence is None) is not (hash is None):
        raise errors.InvalidRequest(
            "`sequence` and `hash` say together which event you have seen: give both, or neither."
        )
    anchor = audit_check.Anchor(sequence, hash) if sequence is not None and hash is not None else None
    key = services.records.vault.secret("audit")
    return AuditVerdict.of(audit_check.verify(services.database, key, anchor))
