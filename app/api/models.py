"""The base models that are served."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response

from app import errors
from app.access import Scope
from app.api.deps import JsonBody, TheCaller, TheModelId, TheServices, needs, the_caller
from app.openapi import REGISTERED, WITH_BODY, problems
from app.schemas import ModelRegistration
from app.views import ModelPage, ModelView

router = APIRouter(tags=["models"], dependencies=[Depends(the_caller)])


@router.get("/models", summary="List the models", responses=problems())
def list_models(services: TheServices) -> ModelPage:
    """Every registered model, with the live workers that serve it and whether its curvature is calibrated."""
    alive = services.workers.alive()
    return ModelPage(items=[ModelView.of(model, alive) for model in services.registry.all()])


@router.get(
    "/models/{model_id}", summary="Look at a model", responses=problems(errors.MalformedId, errors.ModelNotFound)
)
def get_model(services: TheServices, model_id: TheModelId) -> ModelView:
    """One registered model."""
    return ModelView.of(services.registry.get(model_id), services.workers.alive())


@router.post(
    "/models",
    status_code=201,
    summary="Register a model",
    dependencies=[needs(Scope.ADMIN), JsonBody],
    response_description="Registered; start a worker with R2F_MODEL set to its id to serve it.",
    responses=REGISTERED
    | problems(
        *WITH_BODY,
        errors.ModelExists,
        errors.InvalidRequest,
        errors.UnknownField,
        errors.NotAModel,
        errors.UnsupportedModel,
        errors.HubNotAllowed,
        errors.SourceNotAllowed,
        errors.UnknownDecoder,
        errors.DecoderRankMismatch,
    ),
)
def register_model(
    body: Annotated[ModelRegistration, Body()],
    services: TheServices,
    caller: TheCaller,
    response: Response,
) -> ModelView:
    """Check the model's files and its decoder's card, and serve it from now on."""
    model = services.registry.register(caller, body)
    response.headers["Location"] = f"/models/{model.id}"
    return ModelView.of(model, services.workers.alive())
