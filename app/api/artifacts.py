"""The adapter of a deletion, whole or file by file."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from app import errors
from app.access import Caller, Scope
from app.api.deps import TheCaller, TheDeletion, TheServices, needs
from app.models import Artefact, ArtefactKind, Deletion, Outcome, Status
from app.openapi import Responses, header, problems
from app.ranges import not_modified, repr_digest, wanted_span
from app.services import Services

router = APIRouter(tags=["results"])
_ONE = (errors.MalformedId, errors.DeletionNotFound)
_ADAPTER = (
    *_ONE,
    errors.AdapterNotReady,
    errors.AdapterInReview,
    errors.NoAdapter,
    errors.AdapterExpired,
    errors.RangeNotSatisfiable,
    errors.ArtefactMissing,
    errors.StoreUnavailable,
)
_TYPES = {".json": "application/json", ".md": "text/markdown; charset=utf-8", ".zip": "application/zip"}


_HEADERS = {
    "ETag": header("The file's sha256."),
    "Repr-Digest": header("The same, as RFC 9530 writes it."),
    "Accept-Ranges": header("`bytes`: parts of it can be asked for."),
}


def _file(description: str, *media_types: str) -> Responses:
    """The documented answers of a download."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in media_types}
    part = {**_HEADERS, "Content-Range": header("Which bytes, and of how many.")}
    return {
        200: {"description": description, "content": content, "headers": _HEADERS},
        206: {"description": "The range asked for.", "content": content, "headers": part},
        304: {"description": "The caller has it already (If-None-Match).", "headers": _HEADERS},
    }


@router.get(
    "/deletions/{deletion_id}/adapter",
    dependencies=[needs(Scope.ADAPTERS_READ)],
    summary="Download the adapter",
    response_class=Response,
    responses=_file("A PEFT folder as a zip.", "application/zip") | problems(*_ADAPTER),
)
def get_adapter(services: TheServices, caller: TheCaller, deletion: TheDeletion, request: Request) -> Response:
    """The adapter as one zip. Its ETag is its sha256; Range, If-Range and If-None-Match work."""
    (zipped,) = _published(services, deletion, ArtefactKind.ADAPTER)
    return _download(services, caller, request, zipped, f"{deletion.id}.zip")


@router.get(
    "/deletions/{deletion_id}/adapter/{file}",
    dependencies=[needs(Scope.ADAPTERS_READ)],
    summary="Download one file of the adapter",
    response_class=Response,
    responses=_file("The file.", *_TYPES.values(), "application/octet-stream")
    | problems(*_ADAPTER, errors.AdapterFileNotFound),
)
def get_adapter_file(
    services: TheServices,
    caller: TheCaller,
    deletion: TheDeletion,
    request: Request,
    file: Annotated[str, Path(description="A file's name.", examples=["adapter_config.json"])],
) -> Response:
    """One file of the PEFT folder, with the same headers as the whole."""
    for artefact in _published(services, deletion, ArtefactKind.ADAPTER_FILE):
        if artefact.name == file:
            return _download(services, caller, request, artefact, artefact.name)
    raise errors.AdapterFileNotFound


for _path, _endpoint in (
    ("/deletions/{deletion_id}/adapter", get_adapter),
    ("/deletions/{deletion_id}/adapter/{file}", get_adapter_file),
):
    router.add_api_route(
        _path, _endpoint, methods=["HEAD"], include_in_schema=False, dependencies=[needs(Scope.ADAPTERS_READ)]
    )


def _published(services: Services, deletion: Deletion, kind: ArtefactKind) -> list[Artefact]:
    """The artefacts of a published adapter, or why there are none."""
    if deletion.status in (Status.QUEUED, Status.RUNNING):
        raise errors.AdapterNotReady(f"The deletion is {deletion.status}.", headers={"Retry-After": "2"})
    if deletion.status is Status.NEEDS_REVIEW:
        raise errors.AdapterInReview
    if deletion.outcome is not Outcome.FORGOTTEN:
        raise errors.NoAdapter(f"The deletion is {deletion.outcome or deletion.status}.")
    if deletion.adapter_expired_at is not None:
        raise errors.AdapterExpired
    found = services.deletions.artefacts(deletion.id, kind)
    if not found:
        raise errors.ArtefactMissing
    return found


def _download(services: Services, caller: Caller, request: Request, artefact: Artefact, filename: str) -> Response:
    """A file, a range of it, or nothing where the caller has it already; what leaves is logged."""
    etag = f'"{artefact.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Repr-Digest": repr_digest(artefact.sha256),
        "Cache-Control": "no-store",  # an adapter is personal data
        "Content-Disposition": f'attachment; filename="{filename}"',
    }
    if not_modified(request.headers, etag):
        return Response(status_code=304, headers=headers)
    span = wanted_span(request.headers, etag, artefact.size)
    media_type = _TYPES.get(filename[filename.rfind(".") :], "application/octet-stream")
    headers["Content-Length"] = str(span.stop - span.start)
    if span.partial:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{artefact.size}"
    status = 206 if span.partial else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    content = services.store.read(artefact.path, span.start, span.stop)
    services.deletions.note_download(caller, artefact.deletion_id, artefact.name)
    return StreamingResponse(content, status_code=status, headers=headers, media_type=media_type)
