"""`r2f compose`."""

import json
import os
import sys
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from app.adapters import RANKS, AdapterInvalid
from app.commands.connection import LOCAL, Json, KeyFile, Server, connected
from app.commands.console import err, exit_codes, out
from app.report import Rate, VerdictKind
from app.supervisor import CommandFailed, UsedWrongly

if TYPE_CHECKING:
    from app.client import Client
    from worker.composing import Composition, Part


class NotComposable(CommandFailed):
    """Some of what is to be composed has no adapter, or is of another model."""

    code = 2


@exit_codes()
def compose(
    deletions: Annotated[list[str], typer.Argument(metavar="ID...", help="Completed deletions of one model.")],
    to: Annotated[Path, typer.Option(help="File to save the zip as.")] = Path("composed.zip"),
    rank: Annotated[int, typer.Option(help="Of the composed adapter, at most: 8, 16, 32 or 64.")] = max(RANKS),
    anyway: Annotated[bool, typer.Option("--anyway", help="Save it even if a threshold is missed.")] = False,
    as_json: Json = False,
    server: Server = LOCAL,
    key_file: KeyFile = None,
) -> None:
    """Make one adapter of many: servers apply one at a time. All that each was judged on is asked again.

    Runs where the model's weights are: settings and packages are a worker's.
    """
    from app.preflight import need_worker_packages, registered, settings_of

    if rank not in RANKS:
        raise UsedWrongly(f"--rank must be one of {', '.join(map(str, sorted(RANKS)))}.")
    if not os.access(to.parent, os.W_OK):
        raise UsedWrongly(f"{to.parent} is no folder that can be written to.")
    settings = settings_of()
    need_worker_packages()
    from worker.composing import compose_adapters
    from worker.loading import load
    from worker.publish import zip_folder

    with connected(server, key_file) as client, tempfile.TemporaryDirectory() as folder:
        model, parts = _fetched(client, list(dict.fromkeys(deletions)), Path(folder))
    with err.status("loading the model") as status:
        loaded = load(registered(settings, model), settings, lambda text, share: status.update(text))
        status.update("composing, and asking everything again")
        try:
            made = compose_adapters(loaded, parts, rank)
        except AdapterInvalid as error:
            raise NotComposable(f"The adapter {error}.") from error
    faults = _faults(made)
    if as_json:
        sys.stdout.write(json.dumps(_told(made, faults)) + "\n")
    else:
        out.print(_table(made))
    if faults and not anyway:
        raise CommandFailed(f"Not saved (--anyway saves it): {'; '.join(faults)}.")
    _save(zip_folder(made.files), to)
    err.print(f"{to}: the adapter of {len(parts)} deletions, rank {made.rank}.", markup=False, soft_wrap=True)


def _save(content: bytes, to: Path) -> None:
    """Whole or not at all."""
    draft = to.with_name(f".{to.name}.draft")
    try:
        draft.write_bytes(content)
        draft.replace(to)
    except OSError as error:
        raise CommandFailed(f"{to} cannot be written: {error.strerror}.") from error


def _fetched(client: "Client", deletions: list[str], folder: Path) -> "tuple[str, list[Part]]":
    """The model, and every deletion's adapter and evidence; raises NotComposable."""
    from worker.composing import Part

    found = [client.get(deletion) for deletion in deletions]
    for one in found:
        if one.outcome != "forgotten" or one.links.adapter is None:
            raise NotComposable(f"{one.id} is {one.status} and has no adapter to compose.")
        if one.model != found[0].model:
            raise NotComposable(f"{one.id} is of {one.model}, {found[0].id} of {found[0].model}.")
    parts = []
    for one in found:
        with err.status(f"fetching {one.id}"):
            done = client.download(one.id, folder / f"{one.id}.zip")
            with zipfile.ZipFile(done.path) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
            parts.append(Part(one.id, files, client.report(one.id).evidence))
    return found[0].model, parts


def _faults(made: "Composition") -> list[str]:
    """What keeps the composition from being what a deletion is published as, by the thresholds it has by default."""
    faults = []
    for part in made.parts:
        if not part.success.cases:
            faults.append(f"{part.deletion}: its evidence is purged, so nothing can be asked again")
        elif part.verdict.kind is not VerdictKind.PASSED:
            faults += [
                f"{part.deletion}: {one.threshold} {one.measured:.3g} of {one.required:g}"
                for one in part.verdict.missed
                if one.measured is not None
            ]
    return faults


def _told(made: "Composition", faults: list[str]) -> dict[str, object]:
    parts = [
        {
            "deletion": part.deletion,
            **{name: getattr(part, name).model_dump() for name in ("success", "neighbours", "retained", "verdict")},
        }
        for part in made.parts
    ]
    return {"rank": made.rank, "exact": made.exact, "parts": parts, "drift": asdict(made.drift), "faults": faults}


def _table(made: "Composition") -> Table:
    """What each deletion still forgets and keeps, and the whole."""
    how = "the exact sum" if made.exact else "truncated in the curvature norm"
    title = f"One adapter of {len(made.parts)}: rank {made.rank}, {how}"
    caption = f"Generic prompts: KL {made.drift.kl_mean:.2g} nats, same token {made.drift.agreement:.1%}"
    table = Table(
        "deletion",
        "forgotten",
        "neighbours kept",
        "retained",
        "verdict",
        title=title,
        caption=caption,
        title_justify="left",
    )
    for part in made.parts:
        shares = (_share(part.success), _share(part.neighbours), _share(part.retained))
        table.add_row(part.deletion, *shares, part.verdict.kind.replace("_", " "))
    return table


def _share(rate: Rate) -> str:
    """Hits of cases."""
    return f"{rate.hits}/{rate.cases}" if rate.cases else "–"
