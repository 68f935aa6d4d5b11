"""`r2f list`, and what is done to one deletion: `cancel`, `retry`, `approve`, `reject`."""

import json
import sys
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from app.commands.connection import LOCAL, Json, KeyFile, Server, connected
from app.commands.console import err, exit_codes, listing, out, show

if TYPE_CHECKING:
    from rich.table import Table

    from app.client import Deletion

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a deletion: del_ and 32 hexadecimal digits.")]
Status = Literal["queued", "running", "completed", "needs_review", "failed", "canceled"]


@exit_codes()
def list_deletions(
    status: Annotated[Status | None, typer.Option(help="Only with this status.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    reference: Annotated[str | None, typer.Option(help="Only with this case number.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: Json = False,
    server: Server = LOCAL,
    key_file: KeyFile = None,
) -> None:
    """List deletions, newest first."""
    with connected(server, key_file) as client:
        pages = client.list(status=status, model=model, reference=reference, page_size=min(limit, 100))
        found = list(islice(pages, limit))
    if as_json:
        sys.stdout.write(json.dumps([deletion.model_dump(mode="json") for deletion in found]) + "\n")
        return
    show(_table(found))


def decision(name: Literal["cancel", "retry", "approve", "reject"], meaning: str) -> Callable[..., None]:
    """The command for one thing that is done to a deletion."""

    @exit_codes()
    def command(deletion: Id, as_json: Json = False, server: Server = LOCAL, key_file: KeyFile = None) -> None:
        with connected(server, key_file) as client:
            decide: Callable[[str], Deletion] = getattr(client, name)
            done = decide(deletion)
        told(done, as_json=as_json)

    command.__doc__ = meaning
    return command


def told(deletion: "Deletion", *, as_json: bool = False) -> None:
    """How it stands now, and what to do next."""
    if as_json:
        sys.stdout.write(deletion.model_dump_json() + "\n")
        return
    waits = " (its worker stops at the next check)" if deletion.cancel_requested and not deletion.settled else ""
    outcome = f": {deletion.outcome}" if deletion.outcome else ""
    out.print(f"{deletion.id} is {deletion.status}{outcome}{waits}", highlight=False, soft_wrap=True)
    if deletion.outcome == "forgotten":
        hint = f"r2f report {deletion.id} shows the figures, r2f adapter {deletion.id} downloads the adapter."
        err.print(hint, soft_wrap=True)


def _table(deletions: "list[Deletion]") -> "Table":
    table = listing("id", "status", "progress", "reference", "due", "model")
    for row in deletions:
        status = f"{row.status}: {row.outcome}" if row.outcome else row.status
        table.add_row(row.id, status, f"{row.progress:.0%}", row.reference or "", f"{row.due_at:%Y-%m-%d}", row.model)
    return table
