"""`r2f keys`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from app.access import DEFAULT_TENANT, Scope
from app.commands.connection import Json
from app.commands.console import err, exit_codes, listing, show
from app.supervisor import CommandFailed, UsedWrongly

if TYPE_CHECKING:
    from app.keys import Keys
    from app.models import ApiKey

app = typer.Typer(help="API keys.", no_args_is_help=True)
_TENANT = r"[a-z0-9][a-z0-9._-]{0,63}"


@dataclass(frozen=True)
class KeyLine:
    """A key as it is listed."""

    id: str
    name: str
    tenant: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: "ApiKey") -> "KeyLine":
        """The row without what the key is checked by."""
        return cls(**{field.name: getattr(row, field.name) for field in fields(cls)})


@contextmanager
def _keys(*, first: bool = False) -> "Iterator[Keys]":
    """The keys of the service that the environment names.

    Args:
        first: it may not have been started yet.
    """
    from app.keys import Keys
    from app.preflight import bring_up_to_date, need_database, records_of, settings_of

    settings = settings_of()
    if first:
        bring_up_to_date(settings)
    else:
        need_database(settings)
    with records_of(settings) as records:
        yield Keys(records.database, records.sealer)


@app.command("create")
@exit_codes()
def create_key(
    name: Annotated[str, typer.Argument(help="What you will tell it by, for instance the program that uses it.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; can be given several times.")],
    tenant: Annotated[str, typer.Option(help="Whose records it makes and sees.")] = DEFAULT_TENANT,
    days: Annotated[
        float | None, typer.Option(min=0.01, max=36500, help="How long it works; for ever if absent.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once: only a hash of it is kept."""
    import re

    from app import clock

    if not re.fullmatch(_TENANT, tenant):
        raise UsedWrongly("A tenant is 1 to 64 lower-case letters, digits, dots, dashes and underscores.")
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise UsedWrongly("A key's name is 1 to 64 visible characters.")
    with _keys(first=True) as keys:
        until = clock.now() + timedelta(days=days) if days is not None else None
        made = keys.create(tenant, name, frozenset(scope), until)
    if as_json:
        _tell({"id": made.id, "key": made.token, "name": name, "tenant": tenant, "scopes": scope, "expires_at": until})
    else:
        print(made.token)  # noqa: T201  # bare, so that a script can take it
    err.print(f"{made.id} of tenant {tenant}. Keep the key above: it is not shown again.", soft_wrap=True)


@app.command("list")
@exit_codes()
def list_keys(as_json: Json = False) -> None:
    """Show every key that was ever made, without its secret."""
    with _keys() as keys:
        found = [KeyLine.of(key) for key in keys.all()]
    if as_json:
        _tell([asdict(line) for line in found])
        return
    table = listing("id", "name", "tenant", "scopes", "made", "expires", "last used", "revoked")
    for line in found:
        moments = map(_moment, (line.created_at, line.expires_at, line.last_used_at, line.revoked_at))
        table.add_row(line.id, line.name, line.tenant, " ".join(line.scopes), *moments)
    show(table)


@app.command("revoke")
@exit_codes()
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `r2f keys list` shows it.")],
    as_json: Json = False,
) -> None:
    """End a key, and every session that was opened with it, at once."""
    from app.errors import KeyNotFound

    with _keys() as keys:
        try:
            revoked = KeyLine.of(keys.revoke(key_id))
        except KeyNotFound as error:
            raise CommandFailed(f"There is no key {key_id}; see r2f keys list.") from error
    if as_json:
        _tell(asdict(revoked))
    else:
        err.print(f"{key_id} is revoked.")


def _tell(content: object) -> None:
    sys.stdout.write(json.dumps(content, default=datetime.isoformat) + "\n")


def _moment(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M") if moment else ""
