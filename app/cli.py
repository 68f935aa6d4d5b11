"""The command line `r2f`. Every command is thin, and what is slow to import is imported when it runs.

Exit codes: 1 failed, 2 used wrongly or unsafe settings, 3 port in use, 4 no worker became ready, 5 server unreachable,
6 worker keeps dying, 130 interrupted (Ctrl-C), 143 asked to stop (SIGTERM).
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from app.supervisor import (
    ChildKeepsDying,
    CommandFailed,
    Supervisor,
    Terminated,
    listen,
    terminable,
    worker_command,
)

INTERRUPTED = 130
GRACE_SECONDS = 5  # for requests that are being answered when the server stops

app = typer.Typer(
    name="r2f", help="Make a language model forget, and prove it.", no_args_is_help=True, add_completion=False
)
models = typer.Typer(help="Base models.", no_args_is_help=True)
decoder = typer.Typer(help="Gradient decoders.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(decoder, name="decoder")

out = Console()
err = Console(stderr=True, highlight=False)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what ends a command early into one clear message and an exit code."""
    try:
        with terminable():
            yield
    except CommandFailed as error:
        err.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(error.code) from error
    except KeyboardInterrupt as error:
        err.print("Interrupted.")
        raise typer.Exit(INTERRUPTED) from error
    except Terminated as error:
        raise typer.Exit(error.code) from error


@app.command()
@exit_codes()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (R2F_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for any free one (R2F_PORT).")] = None,
    worker: Annotated[bool, typer.Option(help="Migrate, and run a worker beside the API.")] = True,
    restarts: Annotated[
        int | None, typer.Option(help="Give up when the worker has died this often in a row and once more.")
    ] = None,
) -> None:
    """Run the service: the API in the foreground, and one worker beside it that is restarted when it dies."""
    import uvicorn

    from app.preflight import bring_up_to_date, need_worker_packages, settings_of

    settings = settings_of(host=host, port=port)
    bound = listen(settings.host, settings.port, allow_remote=settings.allow_unauthenticated)
    with bound:
        from app.main import create_app

        server = uvicorn.Server(
            uvicorn.Config(create_app(settings), log_config=None, timeout_graceful_shutdown=GRACE_SECONDS)
        )
        address = bound.getsockname()
        err.print(f"Listening on http://{settings.host}:{address[1]} (operations: /docs)", soft_wrap=True)
        if not worker:
            server.run(sockets=[bound])
            return
        need_worker_packages()
        bring_up_to_date(settings)

        def give_up() -> None:
            server.should_exit = True

        with Supervisor(worker_command(), restarts=restarts, on_give_up=give_up) as supervisor:
            server.run(sockets=[bound])
        if supervisor.gave_up:
            raise ChildKeepsDying("The worker dies again and again; its own messages say why.")


@app.command()
@exit_codes()
def worker(
    check: Annotated[bool, typer.Option("--check", help="Only tell whether a worker of this machine lives.")] = False,
) -> None:
    """Run one worker for the model R2F_MODEL; this process becomes it."""
    from app.preflight import need_worker_packages, see_that_a_worker_lives, settings_of

    settings = settings_of()
    if check:
        see_that_a_worker_lives(settings)
        return
    need_worker_packages()
    command = worker_command()
    sys.stdout.flush()
    os.execv(command[0], command)


@app.command()
@exit_codes()
def migrate() -> None:
    """Bring the database up to date; run it once before the service starts, and after each upgrade."""
    from app.preflight import bring_up_to_date, settings_of

    bring_up_to_date(settings_of())
    err.print("The database is up to date.")


@app.command()
@exit_codes()
def demo(
    prompt: Annotated[str | None, typer.Option(help="A question that the model answers with the fact.")] = None,
    answer: Annotated[str | None, typer.Option(help="The answer to forget.")] = None,
    aliases: Annotated[str | None, typer.Option(help="Other spellings of the answer, with commas between.")] = None,
    text: Annotated[str | None, typer.Option(help="A passage that the model knows by heart.")] = None,
    span: Annotated[str | None, typer.Option(help="The part of the passage to forget, word for word.")] = None,
    facts: Annotated[Path | None, typer.Option(help="JSON file with a list of facts.", dir_okay=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All packaged facts, one after the other.")] = False,
) -> None:
    """Forget a fact on a real service and a real model, show what was said before and after, and stop everything."""
    from app import demo as tour
    from app.demo_facts import chosen
    from app.preflight import need_worker_packages, settings_of

    wanted = chosen(prompt=prompt, answer=answer, aliases=aliases, text=text, span=span, path=facts, every=every)
    settings = settings_of()
    need_worker_packages()
    tour.run(wanted, settings, out)


@models.command("list")
@exit_codes()
def list_models() -> None:
    """Show the registered models."""
    from app.database import Database
    from app.preflight import bring_up_to_date, settings_of
    from app.registry import Registry

    settings = settings_of()
    bring_up_to_date(settings)
    database = Database(settings.database)
    try:
        table = Table(
            *(Column(name, overflow="fold") for name in ("id", "source", "decoder", "sketch rank", "context"))
        )
        for model in Registry(database, settings).all():
            table.add_row(
                model.id, model.source, model.decoder, str(model.sketch_rank), str(model.context_length or "?")
            )
    finally:
        database.close()
    out.print(table)


@models.command("prepare")
@exit_codes()
def prepare_model(
    model: Annotated[str | None, typer.Argument(help="Id of a registered model; R2F_MODEL if absent.")] = None,
) -> None:
    """Prepare a model and its curvature in the cache, so that its worker starts at once."""
    from app.preflight import need_worker_packages, registered, settings_of

    settings = settings_of()
    need_worker_packages()
    served = registered(settings, model)
    from worker.loading import ModelSourceError, load

    with out.status("preparing …") as status:

        def notice(what: str, share: float | None) -> None:
            status.update(what if share is None else f"{what}: {share:.0%}")

        try:
            load(served, settings, notice)
        except ModelSourceError as error:
            raise CommandFailed(str(error)) from error
    out.print(f"{served.id} is ready.")


@decoder.command("train")
@exit_codes()
def train_decoder(
    folder: Annotated[Path, typer.Argument(help="Folder that gets a folder with the decoder and its card.")],
    model: Annotated[str | None, typer.Option(help="Id of a registered model; R2F_MODEL if absent.")] = None,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Sketch rank.")] = 8,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the model that make the proxy.")] = 12,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 400,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train a decoder on the first layers of a model, judge it on the whole model, and write it with its card."""
    from app.preflight import need_worker_packages, registered, settings_of

    settings = settings_of()
    need_worker_packages()
    served = registered(settings, model)
    from worker.loading import ModelSourceError
    from worker.r2f.decoder_training import ProxyError
    from worker.train_decoder import train

    try:
        card = train(
            served, settings, rank=rank, layers=layers, steps=steps, seed=seed, folder=folder, notice=err.print
        )
    except (ModelSourceError, ProxyError) as error:
        raise CommandFailed(str(error)) from error
    out.print(f"{folder / card.name}: register a model with this folder as its decoder.")


@decoder.command("show")
@exit_codes()
def show_decoder(
    name: Annotated[str, typer.Argument(help="A packaged decoder, or the folder of one of your own.")] = "spectral-r8",
) -> None:
    """Print a decoder's card: what it was trained on, and how well it decodes."""
    from app.registry import DECODERS

    card = next((path for path in (DECODERS / name / "card.json", Path(name) / "card.json") if path.is_file()), None)
    if card is None:
        have = ", ".join(sorted(path.parent.name for path in DECODERS.glob("*/card.json"))) or "none"
        raise CommandFailed(f"There is no decoder {name}. Packaged ones: {have}.")
    out.print_json(card.read_text(encoding="utf-8"))


if __name__ == "__main__":
    app()
