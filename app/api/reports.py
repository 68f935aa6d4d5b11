"""The report of a deletion: JSON, which is the source, or for people; and its plots."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from app import errors
from app.access import Scope
from app.api.deps import TheCaller, TheDeletion, TheServices, needs
from app.charts import gallery, picture
from app.dashboard import reporting
from app.dashboard.refusals import PageRoute, prefers_html
from app.openapi import Responses, problems
from app.report import Report

router = APIRouter(tags=["results"], route_class=PageRoute, dependencies=[needs(Scope.DELETIONS_READ)])
PlotName = Literal["views", "rates", "path", "fidelity", "stages"]
_ONE = (errors.MalformedId, errors.DeletionNotFound, errors.ReportNotReady)
_PAGE: Responses = {
    200: {
        "description": "The report as JSON, or for people by `Accept: text/html`.",
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
}
_PNG: Responses = {
    200: {
        "description": "The plot on white paper.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get(
    "/deletions/{deletion_id}/report",
    dependencies=[needs(Scope.DELETIONS_READ)],
    summary="Read the report",
    response_model=Report,
    responses=_PAGE | problems(*_ONE),
)
def get_report(
    services: TheServices,
    caller: TheCaller,
    deletion: TheDeletion,
    request: Request,
    download: Annotated[str | None, Query(description="The page as one file that needs nothing else.")] = None,
    json: Annotated[str | None, Query(description="JSON, whatever is accepted.")] = None,
) -> Report | Response:
    """Figures, which hold no personal data, and evidence, which does and may have been purged since."""
    report = services.deletions.report(deletion)
    if download is not None:
        return reporting.as_file(deletion, report)
    return reporting.as_page(caller, deletion, report) if json is None and prefers_html(request) else report


@router.get(
    "/deletions/{deletion_id}/report/{plot}.png",
    dependencies=[needs(Scope.DELETIONS_READ)],
    summary="Download one plot of the report",
    response_class=Response,
    responses=_PNG | problems(*_ONE, errors.PlotNotFound, errors.InvalidRequest),
)
def get_plot(
    services: TheServices, deletion: TheDeletion, plot: Annotated[PlotName, Path(description="Which plot.")]
) -> Response:
    """A plot as PNG. It is drawn from figures alone and holds no personal data."""
    drawn = gallery.plot(services.deletions.report(deletion).figures, plot)
    if drawn is None:
        raise errors.PlotNotFound
    return Response(picture.png(drawn.drawing), media_type="image/png")
