"""`r2f report`, `r2f adapter` and `r2f certificate`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.commands.connection import LOCAL, Json, KeyFile, Server, connected
from app.commands.console import err, exit_codes, out
from app.commands.deletion import Id
from app.supervisor import CommandFailed


@exit_codes()
def report(deletion: Id, as_json: Json = False, server: Server = LOCAL, key_file: KeyFile = None) -> None:
    """Show what was forgotten and what was kept. It holds prompts and replies: personal data."""
    from app.report_tables import report_tables

    with connected(server, key_file) as client:
        found = client.report(deletion)
    if as_json:
        sys.stdout.write(found.model_dump_json() + "\n")
    else:
        out.print(report_tables(found))


@exit_codes()
def certificate(
    deletion: Id,
    to: Annotated[
        Path | None, typer.Option(help="File to save it as; the id with .certificate.json if absent.")
    ] = None,
    as_json: Json = False,
    server: Server = LOCAL,
    key_file: KeyFile = None,
) -> None:
    """Save the certificate, and the service's public keys as jwks.json beside it unless there are some already.

    Keys are what you trust: those that you have are never replaced.
    """
    place = _named(to or Path(f"{deletion}.certificate.json"))
    keys = place.with_name("jwks.json")
    with connected(server, key_file) as client:
        signed = client.certificate(deletion)
        found = None if keys.exists() else client.public_keys()
    try:
        place.write_bytes(signed)
        if found is not None:
            keys.write_bytes(found)
    except OSError as error:
        raise CommandFailed(f"{place} cannot be written: {error.strerror}.") from error
    if as_json:
        sys.stdout.write(json.dumps({"path": str(place), "keys": str(keys)}) + "\n")
        return
    out.print(str(place), highlight=False, soft_wrap=True)
    err.print(f"Check it offline: r2f verify {place} [ADAPTER.zip]", markup=False, soft_wrap=True)


@exit_codes()
def adapter(
    deletion: Id,
    to: Annotated[
        Path | None, typer.Option(help="Folder to unpack it to, or a file that ends in .zip; the id if absent.")
    ] = None,
    as_json: Json = False,
    server: Server = LOCAL,
    key_file: KeyFile = None,
) -> None:
    """Download the adapter and check it; an interrupted download goes on where it stopped."""
    from app.client.downloads import unpack

    place = _named(to or Path(deletion))
    packed = place.suffix == ".zip"
    try:
        with connected(server, key_file) as client:
            done = client.download(deletion, place if packed else place.with_name(f".{place.name}.zip"))
            files = [] if packed else unpack(done.path, place)
        if not packed:
            done.path.unlink()
    except OSError as error:
        raise CommandFailed(f"{place} cannot be written: {error.strerror}.") from error
    if as_json:
        told = {"path": str(place), "sha256": done.sha256, "bytes": done.size, "files": files}
        sys.stdout.write(json.dumps(told) + "\n")
        return
    out.print(f"{place} ({done.size} bytes, sha256 {done.sha256})", highlight=False, soft_wrap=True)


def _named(place: Path) -> Path:
    """The same place by its name: `.` and `..` have none, and something is to lie beside it."""
    return place if place.name not in ("", "..") else place.resolve()
