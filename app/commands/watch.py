"""`r2f watch`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.connection import LOCAL, WATCH_PATIENCE_SECONDS, Json, KeyFile, Server, connected
from app.commands.console import err, exit_codes, out
from app.commands.deletion import Id, told
from app.supervisor import CommandFailed

if TYPE_CHECKING:
    from app.client import Deletion


class AwaitsReview(CommandFailed):
    """The deletion awaits a review."""

    code = 8


class EndedOtherwise(CommandFailed):
    """The deletion did not complete."""


@exit_codes()
def watch(deletion: Id, as_json: Json = False, server: Server = LOCAL, key_file: KeyFile = None) -> None:
    """Follow a deletion with a live bar, until it has finished or awaits a review. Interrupting leaves it running."""
    with connected(server, key_file) as client:
        client.get(deletion)  # patience is for a service that has answered once
    follow(deletion, server, key_file, as_json=as_json)


def follow(deletion: str, server: str, key_file: Path | None, *, as_json: bool) -> None:
    """Show it to its end; raises CommandFailed unless it completed."""
    from app.live_bar import shown

    with _goes_on(deletion), connected(server, key_file, patience=WATCH_PATIENCE_SECONDS) as client:
        changes = client.watch(deletion, waiting=_say_so)
        last = _printed(changes) if as_json else shown(changes, out)
    if last.status == "needs_review":
        decide = f"r2f approve {deletion} or r2f reject {deletion}"
        raise AwaitsReview(f"{deletion} awaits a review. Read r2f report {deletion}, then {decide}.")
    if last.status != "completed":
        why = f" ({last.error.code}): {last.error.message}" if last.error else "."
        raise EndedOtherwise(f"{deletion} ended as {last.status}{why}")
    if not as_json:
        told(last)


def _printed(changes: "Iterator[Deletion]") -> "Deletion":
    """A JSON line for every change."""
    for now in changes:
        sys.stdout.write(now.model_dump_json() + "\n")
        sys.stdout.flush()
    return now


def _say_so() -> None:
    err.print("Waiting for the service …")


@contextmanager
def _goes_on(deletion: str) -> Iterator[None]:
    """Say that the deletion does not end with the watching."""
    try:
        yield
    except KeyboardInterrupt:
        hint = f"The deletion goes on. Look again with r2f watch {deletion}, stop it with r2f cancel {deletion}."
        err.print(hint, soft_wrap=True)
        raise
