"""The web application: `uvicorn --factory app.main:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app import openapi, problems, services
from app.api import artifacts, deletions, health, models
from app.edge import BodyLimit, Edge
from app.logs import configure_logging
from app.settings import Settings
from app.sweeper import SweeperThread

VERSION = "0.1.0"


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application with its routers, error handlers and lifespan.

    Args:
        settings: read from the environment if absent.
    """
    settings = settings or Settings()
    configure_logging(settings.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        wired = services.build(settings)
        app.state.services = wired
        sweeper = SweeperThread(wired.sweeper, settings.sweep_seconds)
        sweeper.start()
        try:
            yield
        finally:
            sweeper.stop()
            wired.bell.close()
            wired.database.close()

    app = FastAPI(
        title="Recover-to-Forget",
        version=VERSION,
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        redoc_url=None,
    )
    problems.install(app)
    openapi.install(app)
    for router in (deletions.router, artifacts.router, models.router, health.router):
        app.include_router(router)
    app.add_middleware(BodyLimit, limit=settings.body_limit)
    app.add_middleware(Edge)  # added last: outermost
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
