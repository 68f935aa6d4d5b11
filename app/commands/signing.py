"""`r2f signing`."""

import json
import sys

import typer

from app.commands.connection import Json
from app.commands.console import err, exit_codes

app = typer.Typer(help="The keys that certificates are signed with.", no_args_is_help=True)


@app.command("rotate")
@exit_codes()
def rotate(as_json: Json = False) -> None:
    """Sign with a new key from now on. The old one's public half stays in /.well-known/jwks.json."""
    from app.certificates import Certificates
    from app.preflight import need_database, records_of, settings_of
    from app.storage import load_store

    settings = settings_of()
    need_database(settings)
    with records_of(settings) as records:
        key_id = Certificates(records, load_store(settings)).rotate()
    if as_json:
        sys.stdout.write(json.dumps({"key_id": key_id}) + "\n")
    err.print(f"Certificates are signed with {key_id} from now on.")
