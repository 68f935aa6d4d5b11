"""The certificate of a deletion, what opens its commitment, and the keys that certificates are signed with."""

from fastapi import APIRouter, Response

from app import errors
from app.access import Scope
from app.api.deps import Counted, TheDeletion, TheServices, needs
from app.certificate import SignedCertificate
from app.openapi import Responses, problems
from app.views import CommitmentView, KeySet

router = APIRouter(tags=["results"])
_ONE = (errors.MalformedId, errors.DeletionNotFound)
_SIGNED: Responses = {200: {"model": SignedCertificate, "description": "Canonical JSON (RFC 8785), always the same."}}


@router.get(
    "/deletions/{deletion_id}/certificate",
    dependencies=[needs(Scope.DELETIONS_READ)],
    summary="Fetch the certificate",
    response_class=Response,
    responses=_SIGNED | problems(*_ONE, errors.CertificateNotReady, errors.ArtefactMissing, errors.StoreUnavailable),
)
def get_certificate(services: TheServices, deletion: TheDeletion) -> Response:
    """A signed statement of what was done and measured; holds no personal data. `r2f verify` checks it offline."""
    return Response(services.certificates.of(deletion), media_type="application/json")


@router.get(
    "/deletions/{deletion_id}/commitment",
    dependencies=[needs(Scope.DELETIONS_READ)],
    summary="Fetch what opens the commitment",
    responses=problems(*_ONE, errors.CommitmentPurged),
)
def get_commitment(services: TheServices, deletion: TheDeletion, response: Response) -> CommitmentView:
    """The salt of the certificate's commitment, until the request is purged. Keep it with the request, not with the
    certificate: who has both can try out what was to be forgotten."""
    response.headers["Cache-Control"] = "no-store"
    return CommitmentView(commitment=deletion.commitment or "", salt=services.certificates.salt(deletion))


@router.get(
    "/.well-known/jwks.json",
    summary="Public keys of certificates",
    dependencies=[Counted],
    responses=problems(errors.TooManyRequests),
)
def get_jwks(services: TheServices) -> KeySet:
    """Every key that has ever signed a certificate, as RFC 7517 says; the present one comes first."""
    return KeySet.model_validate(services.certificates.jwks())
