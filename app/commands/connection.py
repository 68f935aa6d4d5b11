"""The service that a command talks to: where it is, with which key, and what is said when that fails."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.access import is_loopback
from app.commands.console import err
from app.supervisor import CommandFailed

if TYPE_CHECKING:
    from app.client import Client

PATIENCE_SECONDS = 1.0  # a person waits
WATCH_PATIENCE_SECONDS = 120.0  # a bar outlives a restart of the service

Server = Annotated[str, typer.Option(envvar="R2F_SERVER", help="Address of the service.")]
# There is no option for the key itself: what is typed can be read in the process list, and in the shell's history.
KeyFile = Annotated[
    Path | None,
    typer.Option(envvar="R2F_KEY_FILE", help="File with the API key; without it R2F_KEY of the environment counts."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
LOCAL = "http://127.0.0.1:8000"


class BadKey(CommandFailed):
    """The API key, or the file that it is in, cannot be used."""

    code = 2


class BadServer(CommandFailed):
    """The address of the service must be http:// or https:// with a host."""

    code = 2


@contextmanager
def connected(server: str, key_file: Path | None, *, patience: float = PATIENCE_SECONDS) -> "Iterator[Client]":
    """A client of the service; its errors become messages with exit codes."""
    from app.calling import plainly
    from app.client import Client

    scheme, host = _checked(server)
    key = key_of(key_file)
    if key and scheme == "http" and not is_loopback(host):
        err.print("The key travels unencrypted: this address is not https.", style="yellow")
    with plainly(), Client(server, key=key, patience=patience) as client:
        yield client


def key_of(key_file: Path | None) -> str | None:
    """The API key: of the file, else of the environment; None without either. Raises BadKey."""
    if key_file is None:
        given = os.environ.get("R2F_KEY")
        return _one_word(given, "R2F_KEY") if given else None
    try:
        if key_file.stat().st_mode & 0o077:
            raise BadKey(f"{key_file} must be readable by its owner only (chmod 600).")
        text = key_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadKey(f"{key_file} cannot be read.") from error
    return _one_word(text, str(key_file))


def _checked(server: str) -> tuple[str, str]:
    """Scheme and host of an address that can be called; raises BadServer."""
    import httpx

    try:
        url = httpx.URL(server)
    except httpx.InvalidURL as error:
        raise BadServer from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise BadServer
    return url.scheme, url.host


def _one_word(text: str, where: str) -> str:
    """The key in a text, as a header can carry it; raises BadKey."""
    key = text.strip()
    if not key.isascii() or not key.isprintable() or " " in key or not key:
        raise BadKey(f"{where} must hold one line with the key.")
    return key
