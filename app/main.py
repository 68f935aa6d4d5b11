"""The web application: `uvicorn --factory app.main:create_app`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CollectorRegistry

from app import openapi, problems, purging, services, tracing
from app.api import (
    artifacts,
    audit,
    certificates,
    deletions,
    events,
    health,
    models,
    personal_data,
    reports,
    session,
    webhooks,
)
from app.api import metrics as metrics_api
from app.api.deps import count_caller, known_query
from app.dashboard import actions, console, login, pages, refusals
from app.dashboard.rendering import STATIC, SWAGGER, Assets
from app.edge import BodyLimit, Edge
from app.logs import configure_logging
from app.metrics import Records, Requests
from app.settings import Settings
from app.sweeper import ChoreThread, SweeperThread

VERSION = "0.1.0"
# FastAPI's own spans and logs hold paths, queries, addresses and the messages of errors; app.tracing makes ours.
UNTOLD: TelemetryConfig = {
    "tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False,
}  # fmt: skip


CALLS = (
    deletions.router,
    events.router,
    reports.router,
    artifacts.router,
    certificates.router,
    personal_data.router,
    audit.router,
    models.router,
    webhooks.router,
    session.router,
    health.router,
    metrics_api.router,
)
PAGES = (pages.router, actions.router, login.router, console.router)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application with its routers, error handlers and lifespan.

    Args:
        settings: read from the environment if absent.
    """
    settings = settings or Settings()
    configure_logging(settings.log_level)
    tracing.start(settings, "r2f-api")

    metrics = CollectorRegistry()
    app = FastAPI(
        title="Recover-to-Forget",
        version=VERSION,
        description=openapi.description(),
        lifespan=_lifespan(settings, metrics),
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        docs_url=None,  # served by app.dashboard.console
        redoc_url=None,
        telemetry=UNTOLD,
    )
    app.state.metrics = metrics
    problems.install(app, refusals.answer, count_caller)
    openapi.install(app)
    for router in CALLS:
        app.include_router(router, dependencies=[Depends(known_query)])
    for router in PAGES:
        app.include_router(router)
    app.mount("/static/swagger", Assets(directory=SWAGGER))
    app.mount("/static", Assets(directory=STATIC))
    app.add_middleware(BodyLimit, limit=settings.body_limit, count=count_caller)
    app.add_middleware(Edge, requests=Requests(metrics), answer=refusals.answer)  # added last: outermost
    return app


def _lifespan(settings: Settings, metrics: CollectorRegistry) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Wires the parts when the process starts, runs its chores, and closes everything in order when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        wired = services.build(settings)
        app.state.services = wired
        records = Records(wired.database, wired.workers)
        metrics.register(records)
        seconds = settings.sweep_seconds
        chores = [SweeperThread(wired.sweeper, seconds), ChoreThread(wired.courier, seconds)]
        chores.append(ChoreThread(wired.purger, purging.SECONDS))
        for chore in chores:
            chore.start()
        try:
            yield
        finally:
            metrics.unregister(records)
            wired.watcher.close()
            for chore in chores:
                chore.stop()
            wired.bell.close()
            wired.database.close()

    return lifespan


def _operation_id(route: APIRoute) -> str:
    return route.name
