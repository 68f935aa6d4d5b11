"""`r2f webhooks`."""

import json
import sys
from datetime import datetime
from itertools import islice
from typing import Annotated

import typer

from app.commands.connection import LOCAL, Json, KeyFile, Server, connected
from app.commands.console import err, exit_codes, listing, out, show

app = typer.Typer(help="Who is told when a deletion has settled.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a webhook, as `r2f webhooks list` shows it.")]


@app.command("add")
@exit_codes()
def add_webhook(
    url: Annotated[str, typer.Argument(metavar="URL", help="Address that takes POSTs, https.")],
    as_json: Json = False,
    server: Server = LOCAL,
    key_file: KeyFile = None,
) -> None:
    """Register an address and print its signing secret, this once; an address that is known gets a new one at once."""
    with connected(server, key_file) as client:
        made = client.add_webhook(url)
    _secret(made.id, made.secret, made.model_dump_json() if as_json else None)


@app.command("rotate")
@exit_codes()
def rotate_webhook(webhook: Id, as_json: Json = False, server: Server = LOCAL, key_file: KeyFile = None) -> None:
    """Make a new signing secret and print it, this once; for 24 hours calls are signed with the one before, too."""
    with connected(server, key_file) as client:
        made = client.rotate_webhook(webhook)
    _secret(made.id, made.secret, made.model_dump_json() if as_json else None)


@app.command("list")
@exit_codes()
def list_webhooks(as_json: Json = False, server: Server = LOCAL, key_file: KeyFile = None) -> None:
    """Show every webhook, and whether it is still told anything."""
    with connected(server, key_file) as client:
        found = client.webhooks()
    if as_json:
        sys.stdout.write(json.dumps([webhook.model_dump(mode="json") for webhook in found]) + "\n")
        return
    table = listing("id", "url", "state")
    for webhook in found:
        state = "enabled" if webhook.disabled_at is None else f"disabled: {webhook.disabled_why}"
        table.add_row(webhook.id, webhook.url, state)
    show(table)


@app.command("remove")
@exit_codes()
def remove_webhook(webhook: Id, as_json: Json = False, server: Server = LOCAL, key_file: KeyFile = None) -> None:
    """Tell a webhook nothing more; the log of its deliveries stays for 30 days."""
    with connected(server, key_file) as client:
        done = client.remove_webhook(webhook)
    if as_json:
        sys.stdout.write(done.model_dump_json() + "\n")
        return
    out.print(f"{done.id} is told nothing more.", highlight=False, soft_wrap=True)


@app.command("deliveries")
@exit_codes()
def list_deliveries(
    webhook: Id,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: Json = False,
    server: Server = LOCAL,
    key_file: KeyFile = None,
) -> None:
    """Show what a webhook was told, newest first."""
    with connected(server, key_file) as client:
        found = list(islice(client.deliveries(webhook, page_size=min(limit, 100)), limit))
    if as_json:
        sys.stdout.write(json.dumps([delivery.model_dump(mode="json") for delivery in found]) + "\n")
        return
    table = listing("deletion", "told", "tries", "answer", "delivered", "next try")
    for told in found:
        answer = " ".join(str(part) for part in (told.last_status, told.last_error) if part is not None)
        times = (_moment(told.delivered_at), _moment(told.next_at))
        table.add_row(told.deletion, told.status, str(told.tries), answer, *times)
    show(table)


def _secret(webhook: str, secret: str, as_json: str | None) -> None:
    """Print the secret bare, so that a script can take it, unless JSON is wanted."""
    sys.stdout.write((as_json or secret) + "\n")
    err.print(f"{webhook}. Keep the secret above: it is not shown again.", soft_wrap=True)


def _moment(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M") if moment else ""
