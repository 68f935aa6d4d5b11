"""`r2f decoder`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.commands.connection import Json
from app.commands.console import err, exit_codes, out
from app.supervisor import CommandFailed

app = typer.Typer(help="Gradient decoders.", no_args_is_help=True)


@app.command("train")
@exit_codes()
def train_decoder(
    folder: Annotated[Path, typer.Argument(help="Folder that gets a folder with the decoder and its card.")],
    model: Annotated[str | None, typer.Option(help="Id of a registered model; R2F_MODEL if absent.")] = None,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Sketch rank.")] = 8,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the model that make the proxy.")] = 12,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 400,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
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
    if as_json:
        sys.stdout.write(json.dumps({"folder": str(folder / card.name), "card": asdict(card)}) + "\n")
        return
    out.print(f"{folder / card.name}: register a model with this folder as its decoder.")


@app.command("show")
@exit_codes()
def show_decoder(
    name: Annotated[str, typer.Argument(help="A packaged decoder, or the folder of one of your own.")] = "spectral-r8",
    as_json: Json = False,
) -> None:
    """Print a decoder's card: what it was trained on, and how well it decodes. It is JSON with and without --json."""
    from app.registry import DECODERS

    card = next((path for path in (DECODERS / name / "card.json", Path(name) / "card.json") if path.is_file()), None)
    if card is None:
        have = ", ".join(sorted(path.parent.name for path in DECODERS.glob("*/card.json"))) or "none"
        raise CommandFailed(f"There is no decoder {name}. Packaged ones: {have}.")
    text = card.read_text(encoding="utf-8")
    if as_json:
        sys.stdout.write(json.dumps(json.loads(text)) + "\n")
    else:
        out.print_json(text)
