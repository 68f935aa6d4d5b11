"""Whether the process lives, whether it can work, and what its problems mean."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlalchemy.exc import SQLAlchemyError

from app import errors
from app.api.deps import MaybeCaller, TheServices
from app.models import WorkerState
from app.openapi import problems
from app.problem_views import ProblemType, ProblemTypes
from app.services import Services
from app.views import Health, Readiness, WorkerView

router = APIRouter(tags=["operations"])
_OK = "ok"


@router.get("/healthz", summary="Is the process alive?", responses=problems())
async def get_health() -> Health:
    """Answers as long as the process does; asks nothing of others, nor for one of the threads that wait for them."""
    return Health()


@router.get(
    "/readyz",
    summary="Can it work?",
    responses=problems(errors.NotReady, errors.InvalidRequest, errors.TooManyRequests),
)
def get_readiness(
    services: TheServices,
    caller: MaybeCaller,
    require_worker: Annotated[bool, Query(description="Not ready until a worker has its model loaded.")] = False,
) -> Readiness:
    """Database, migrations, master key, broker and artefact store; for callers with a key every worker, with what it
    loaded."""
    checks = {"database": _database(services), "broker": _broker(services), "store": _store(services)}
    if checks["database"] == _OK:
        checks["key"] = _key(services)
    workers = services.workers.known() if checks["database"] == _OK else []
    if require_worker:
        awake = any(worker.state in (WorkerState.READY, WorkerState.BUSY) for worker in workers)
        checks["worker"] = _OK if awake else "no worker is ready"
    if any(check != _OK for check in checks.values()):
        wrong = [{"field": name, "type": errors.NotReady.uri(), "detail": check} for name, check in checks.items()]
        raise errors.NotReady(fields=[field for field in wrong if field["detail"] != _OK])
    return Readiness(checks=checks, workers=[WorkerView.of(worker) for worker in workers if caller])


@router.get("/problems", summary="Every kind of problem", responses=problems())
def list_problems() -> ProblemTypes:
    """The stable `type` of every error, what it means, and its HTTP status."""
    return ProblemTypes(items=[ProblemType.of(problem) for problem in errors.problem_types()])


@router.get("/problems/{name}", summary="One kind of problem", responses=problems(errors.ProblemNotFound))
def get_problem(
    name: Annotated[str, Path(description="The end of its `type`.", examples=["deletion-not-found"])],
) -> ProblemType:
    """What a problem's `type` means."""
    for problem in errors.problem_types():
        if problem.slug() == name:
            return ProblemType.of(problem)
    raise errors.ProblemNotFound


def _database(services: Services) -> str:
    try:
        if not services.database.migrated():
            return "its schema is not this version's: run `r2f migrate`"
        return _OK if services.database.writable() else "it takes no writes"
    except SQLAlchemyError:
        return "it does not answer"


def _key(services: Services) -> str:
    try:
        services.records.vault.check()
    except errors.KeyNotAtHand:
        return "the master key of this database is not at hand"
    return _OK


def _broker(services: Services) -> str:
    try:
        services.bell.check()
    except errors.RingFailed:
        return "it does not answer"
    return _OK


def _store(services: Services) -> str:
    try:
        services.store.check()
    except errors.StoreUnavailable as error:
        return error.detail or "it does not answer"
    return _OK
