"""`r2f models`."""

import json
import sys
from typing import Annotated

import typer

from app.commands.connection import LOCAL, Json, KeyFile, Server, connected
from app.commands.console import err, exit_codes, listing, out, show
from app.supervisor import CommandFailed

app = typer.Typer(help="Base models.", no_args_is_help=True)


@app.command("list")
@exit_codes()
def list_models(as_json: Json = False, server: Server = LOCAL, key_file: KeyFile = None) -> None:
    """Show the models that a service has registered, and whether workers serve them."""
    with connected(server, key_file) as client:
        found = client.models()
    if as_json:
        sys.stdout.write(json.dumps([model.model_dump(mode="json") for model in found]) + "\n")
        return
    names = ("id", "source", "decoder", "sketch rank", "context", "workers", "calibrated")
    table = listing(*names)
    for model in found:
        numbers = (str(model.sketch_rank), str(model.context_length or "?"), str(model.workers))
        table.add_row(model.id, model.source, model.decoder, *numbers, "yes" if model.calibrated else "no")
    show(table)


@app.command("prepare")
@exit_codes()
def prepare_model(
    model: Annotated[str | None, typer.Argument(help="Id of a registered model; R2F_MODEL if absent.")] = None,
    as_json: Json = False,
) -> None:
    """Prepare a model and its curvature in the cache, so that its worker starts at once."""
    from app.preflight import need_worker_packages, registered, settings_of

    settings = settings_of()
    need_worker_packages()
    served = registered(settings, model)
    from worker.loading import ModelSourceError, load

    with err.status("preparing …") as status:

        def notice(what: str, share: float | None) -> None:
            status.update(what if share is None else f"{what}: {share:.0%}")

        try:
            load(served, settings, notice)
        except ModelSourceError as error:
            raise CommandFailed(str(error)) from error
    if as_json:
        sys.stdout.write(json.dumps({"id": served.id, "folder": str(settings.models / served.id)}) + "\n")
    else:
        out.print(f"{served.id} is ready.")
