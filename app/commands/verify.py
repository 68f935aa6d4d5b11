"""`r2f verify`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.commands.connection import Json
from app.commands.console import exit_codes, out
from app.supervisor import CommandFailed, UsedWrongly

_File = typer.Option(dir_okay=False, exists=True)


@exit_codes()
def verify(
    certificate: Annotated[Path, typer.Argument(dir_okay=False, exists=True, help="The certificate, as it was sent.")],
    adapter: Annotated[
        Path | None, typer.Argument(dir_okay=False, exists=True, help="The adapter's zip, as it was sent.")
    ] = None,
    jwks: Annotated[
        Path | None,
        typer.Option(help="The service's public keys; jwks.json beside the certificate if absent."),
    ] = None,
    request: Annotated[
        Path | None, typer.Option(dir_okay=False, exists=True, help="The request, to open the commitment with.")
    ] = None,
    salt: Annotated[str | None, typer.Option(help="The salt, from GET /deletions/{id}/commitment.")] = None,
    as_json: Json = False,
) -> None:
    """Check a certificate offline: its signature, the adapter and, with request and salt, what was forgotten.

    The keys are what you trust: fetch them once from the service itself, and keep them.
    """
    from app.verification import Opening, verify

    place = jwks or certificate.with_name("jwks.json")
    try:
        keys = json.loads(place.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CommandFailed(f"No keys can be read from {place}: save the service's /.well-known/jwks.json.") from error
    if (request is None) != (salt is None):
        raise UsedWrongly("The commitment is opened by --request and --salt together.")
    opening = Opening(request.read_bytes(), salt) if request is not None and salt is not None else None
    checks = verify(certificate.read_bytes(), keys, adapter.read_bytes() if adapter else None, opening)
    if as_json:
        sys.stdout.write(json.dumps([asdict(check) for check in checks]) + "\n")
    for check in () if as_json else checks:
        out.print(f"{'holds' if check.holds else 'FAILS'}  {check.name}: {check.said}", soft_wrap=True)
    if not all(check.holds for check in checks):
        raise CommandFailed("Not everything that was checked holds.")
