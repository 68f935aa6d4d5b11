"""The OpenAPI page: Swagger UI out of a package, under the same policy as every other page."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.dashboard.rendering import page

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def console() -> HTMLResponse:
    """Every call, described and ready to be sent."""
    return page("docs.html")
