"""Metrics, for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from app.api.deps import Counted
from app.errors import TooManyRequests
from app.openapi import Responses, problems

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
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), media_type=content_type)
