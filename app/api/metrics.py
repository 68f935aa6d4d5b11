"""Metrics, for Prometheus."""

import re

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from app.api.deps import Counted
from app.errors import TooManyRequests
from app.openapi import Responses, problems

VERSIONS = frozenset({"0.0.1", "0.0.4", "1.0.0", "2.0.0"})  # of the text formats that scrapers ask for
router = APIRouter(tags=["operations"])  # answers while the database, and with it every key, is away
_TEXT: Responses = {200: {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get(
    "/metrics",
    summary="Read the metrics",
    response_class=Response,
    dependencies=[Counted],
    responses=_TEXT | problems(TooManyRequests),
)
def get_metrics(request: Request) -> Response:
    """This process's requests, and everybody's deletions, queue, leases, workers and webhooks; no ids, so no key."""
    registry: CollectorRegistry = request.app.state.metrics
    encode, content_type = choose_encoder(_readable(request.headers.get("accept", "")))
    return Response(encode(registry), media_type=content_type)


def _readable(accept: str) -> str:
    """The kinds of an Accept header without those of a version that nobody knows, on which the library stumbles."""
    return ",".join(kind for kind in accept.split(",") if VERSIONS.issuperset(_versions(kind)))


def _versions(kind: str) -> list[str]:
    return [version.strip() for version in re.findall(r"version=([^;]*)", kind)]
