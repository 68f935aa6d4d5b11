"""What a certificate states, and how it is signed: RFC 8785 canonical JSON, Ed25519 (RFC 8032), key ids by RFC 7638.

Free of the database, so that whoever holds a certificate can check it with this file alone.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field

from app.models import LegalBasis, Outcome
from app.report import Generic, Probability, Rate, Record, TargetFigures, Verdict
from app.schemas import Target, Thresholds

SALT = "commitment salt"  # what the salt is derived for; it dies with the request's key


def limits(merged: object) -> list[str]:
    """What a certificate does not say.

    Args:
        merged: the rounding of the model that the adapter is merged into; None: it stays beside the weights.
    """
    served = f"merged into this base model and that is rounded to {merged}" if merged else "loaded on this base model"
    return [
        "The weights of the base model are unchanged and still hold what was forgotten.",
        f"Protection holds where this adapter is {served}, and nowhere else.",
        "What was measured is extraction by the phrasings that were asked, not erasure.",
        "An outcome of not_known means that the model neither said the fact nor found it likely when it was asked.",
    ]


class BaseModelUsed(Record):
    """The model that was made to forget."""

    id: str
    revision: str | None
    weights_digest: str = Field(description="SHA-256 over the names and bytes of its weights.")


class MethodStated(Record):
    """What made the adapter: enough to make it again."""

    name: str
    settings_digest: str = Field(description="SHA-256 of the canonical JSON of the method's settings.")
    seed: int
    versions: dict[str, str] = Field(description="Of this service and of the libraries beneath it.")
    decoder_digest: str
    curvature_digest: str


class ForgetSet(Record):
    """What had to be forgotten, without saying what: whoever holds the request and the salt can open it."""

    commitment: str = Field(description="HMAC-SHA256 of the canonical JSON of the targets, under the salt.")
    size: int = Field(description="How many targets there are.")


class AdapterStated(Record):
    """The adapter as it is downloaded."""

    sha256: str = Field(description="Of the zip.")
    bytes: int
    rank: int
    modules: list[str] = Field(description="The linear layers that it changes.")


class Measured(Record):
    """What was measured before and after, with 95 % intervals, and what had to be reached."""

    views: int
    success: Rate
    worst_target: Rate | None
    targets: list[TargetFigures]
    reversed: Rate | None
    probability: Probability | None
    neighbours: Rate | None
    retained: Rate | None
    generic: Generic | None
    degenerate: Rate | None


class AuditAnchor(Record):
    """Where the audit log stood; `r2f audit verify --anchor SEQUENCE:HASH` finds out a log that was put back."""

    sequence: int
    hash: str


class Statement(Record):
    """Everything that a certificate says."""

    version: Literal[1] = 1
    deletion_id: str
    tenant: str
    received_at: datetime
    started_at: datetime | None
    finished_at: datetime
    due_at: datetime
    issued_at: datetime
    legal_basis: LegalBasis
    outcome: Outcome
    approved_by_operator: bool
    base_model: BaseModelUsed
    method: MethodStated
    forget_set: ForgetSet
    adapter: AdapterStated | None
    measured: Measured
    thresholds: Thresholds
    verdict: Verdict
    limits: list[str]
    audit_head: AuditAnchor


class Signature(Record):
    """Who signed, and how."""

    algorithm: Literal["Ed25519"] = "Ed25519"
    key_id: str = Field(description="Which key of /.well-known/jwks.json.")
    value: str = Field(description="Base64url without padding.")


class SignedCertificate(Record):
    """A statement with its signature, over the canonical JSON of {statement, algorithm, key_id}."""

    statement: Statement
    signature: Signature


class Invalid(ValueError):
    """The certificate does not hold; the message says why."""


def commit(salt: bytes, targets: list[Target]) -> str:
    """The commitment to a forget set."""
    dumped = [target.model_dump(mode="json") for target in targets]
    return hmac.digest(salt, rfc8785.dumps(dumped), "sha256").hex()


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return sha256(rfc8785.dumps(value)).hexdigest()


def sign(statement: Statement, private: Ed25519PrivateKey) -> bytes:
    """The certificate as it is sent: canonical JSON."""
    key_id = thumbprint(public_jwk(private.public_key())["x"])
    said = statement.model_dump(mode="json")
    value = _encode(private.sign(_signed(said, "Ed25519", key_id)))
    return rfc8785.dumps({"statement": said, "signature": {"algorithm": "Ed25519", "key_id": key_id, "value": value}})


def check_signature(document: Mapping[str, Any], jwks: Mapping[str, Any]) -> str:
    """The id of the key, one of these, that signed exactly this; raises Invalid if none did."""
    try:
        signature, said = document["signature"], document["statement"]
        algorithm, key_id, value = (signature[name] for name in ("algorithm", "key_id", "value"))
    except (KeyError, TypeError) as error:
        raise Invalid("It is not a certificate: statement and signature are missing.") from error
    if algorithm != "Ed25519":
        raise Invalid("The signature's algorithm is not Ed25519.")
    x = _found(jwks, key_id)
    if set(document) != {"statement", "signature"} or set(signature) != {"algorithm", "key_id", "value"}:
        raise Invalid("It has fields that are not signed.")
    try:
        public = Ed25519PublicKey.from_public_bytes(_decode(x))
        public.verify(_decode(value), _signed(said, algorithm, key_id))
    except (InvalidSignature, binascii.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Invalid("The signature does not fit: something in the certificate was changed.") from error
    return str(key_id)


def _found(jwks: Any, key_id: Any) -> str:
    """The public key of this id; raises Invalid."""
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list):
        raise Invalid("The keys given are no JWKS: an object with a list named keys.")
    for key in keys:
        if isinstance(key, dict) and (key.get("kid"), key.get("kty"), key.get("crv")) == (key_id, "OKP", "Ed25519"):
            x = key.get("x")
            if isinstance(x, str) and x.isascii() and thumbprint(x) == key_id:
                return x
    raise Invalid("The key that it names is not among the keys given.")


def public_jwk(public: Ed25519PublicKey) -> dict[str, str]:
    """A public key as JWKS shows it (RFC 8037)."""
    x = _encode(public.public_bytes_raw())
    return {"kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "use": "sig", "x": x, "kid": thumbprint(x)}


def thumbprint(x: str) -> str:
    """The key id of an Ed25519 key (RFC 7638)."""
    return _encode(sha256(rfc8785.dumps({"crv": "Ed25519", "kty": "OKP", "x": x})).digest())


def _signed(said: Any, algorithm: str, key_id: str) -> bytes:
    return rfc8785.dumps({"statement": said, "algorithm": algorithm, "key_id": key_id})


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(raw) != text:  # one spelling only
        raise ValueError("not the one base64url spelling")
    return raw
