"""`r2f seal`."""

import json
import sys
from dataclasses import asdict

import typer

from app.commands.connection import Json
from app.commands.console import err, exit_codes

app = typer.Typer(help="The keys that personal data is sealed with.", no_args_is_help=True)


@app.command("rotate")
@exit_codes()
def rotate(as_json: Json = False) -> None:
    """Put a new master key in the old one's place; run it again if it was interrupted. The service may run meanwhile.

    A back-up of the database from before opens only with the key that this destroys: what was purged is gone from
    back-ups too, and so is everything else in them. Make a new one afterwards.
    """
    from app.preflight import need_database, records_of, settings_of
    from app.rotation import Rotation

    settings = settings_of()
    need_database(settings)
    with records_of(settings) as records:
        done = Rotation(records, settings).run()
    if as_json:
        sys.stdout.write(json.dumps(asdict(done)) + "\n")
    err.print(f"The present epoch is {done.epoch}; {done.rewrapped} keys were wrapped anew.")
    if done.by_hand:
        err.print("Now take R2F_MASTER_KEY_RETIRING out of every process, restart them, and destroy the old key.")
    else:
        err.print(f"Destroyed: {', '.join(done.emptied)}.")
