"""Checks a certificate without the service: who signed it, which adapter it speaks of, and what was to be forgotten."""

import hmac
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from app.certificate import AdapterStated, Invalid, SignedCertificate, Statement, check_signature, commit
from app.schemas import DeletionRequest

CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Opening:
    """What opens the commitment to the forget set: the request as it was sent, and the salt."""

    request: bytes
    salt: str


@dataclass(frozen=True)
class Check:
    """One thing that was checked, and what was found."""

    name: str
    holds: bool
    said: str


def verify(
    certificate: bytes, jwks: Mapping[str, Any], adapter: bytes | None = None, opening: Opening | None = None
) -> list[Check]:
    """Every check, in order; what rests on a statement that is not authentic is not checked at all."""
    try:
        statement, key_id = _authentic(certificate, jwks)
    except Invalid as error:
        return [Check("signature", False, str(error))]
    return [Check("signature", True, f"The key {key_id} signed it."), *_contents(statement, adapter, opening)]


def _authentic(certificate: bytes, jwks: Mapping[str, Any]) -> tuple[Statement, str]:
    """The statement and the id of its key, once its signature has been checked; raises Invalid."""
    try:
        document = json.loads(certificate, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Invalid("It is not JSON, or names a field twice.") from error
    key_id = check_signature(document, jwks)
    try:
        return SignedCertificate.model_validate_json(certificate).statement, key_id
    except ValidationError as error:
        raise Invalid("It is signed, but of a version that this program does not know.") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose fields are named once: parsers differ in which of two they believe."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("duplicate field")
    return dict(pairs)


def _contents(statement: Statement, adapter: bytes | None, opening: Opening | None) -> Iterator[Check]:
    if adapter is not None and statement.adapter is None:
        yield Check("adapter", False, "The certificate says that there is no adapter.")
    elif adapter is not None and statement.adapter is not None:
        yield _adapter(adapter, statement.adapter)
    if opening is not None:
        yield _opened(statement, opening)


def _adapter(content: bytes, stated: AdapterStated) -> Check:
    """Whether this zip is the adapter that was certified, and is what was stated of it."""
    if sha256(content).hexdigest() != stated.sha256 or len(content) != stated.bytes:
        return Check("adapter", False, "It is not the adapter that was certified: its SHA-256 differs.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            config = json.loads(archive.read(CONFIG))
        found = (config["r"], sorted(config["target_modules"]))
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError):
        return Check("adapter", False, "It is not a PEFT folder as a zip.")
    if found != (stated.rank, stated.modules):
        return Check("adapter", False, "Its rank or its modules are not those stated.")
    return Check("adapter", True, "It is the adapter that was certified.")


def _opened(statement: Statement, opening: Opening) -> Check:
    """Whether the request is the one that was committed to."""
    try:
        request = DeletionRequest.model_validate_json(opening.request)
        salt = bytes.fromhex(opening.salt)
    except ValueError:
        return Check("forget set", False, "The request or the salt cannot be read.")
    if not hmac.compare_digest(commit(salt, request.targets), statement.forget_set.commitment):
        return Check("forget set", False, "It is not what the certificate commits to.")
    return Check("forget set", True, "It is what the certificate commits to.")
