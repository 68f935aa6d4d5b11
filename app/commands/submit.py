"""`r2f submit`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import uuid4

import typer

from app.commands.connection import LOCAL, Json, KeyFile, Server, connected
from app.commands.console import err, exit_codes, out
from app.commands.watch import follow
from app.supervisor import CommandFailed, ServerUnreachable, UsedWrongly

if TYPE_CHECKING:
    from app.client import Client, DeletionRequest, Receipt


class BadRequest(CommandFailed):
    """The request cannot be sent."""

    code = 2


class NothingToForget(CommandFailed):
    """Say what to forget: --prompt with --answer, --text with --span, --about, or --file."""

    code = 2


@exit_codes()
def submit(
    model: Annotated[str | None, typer.Option(help="Id of the model; see r2f models list.")] = None,
    prompt: Annotated[str | None, typer.Option(help="A question that the model answers with the fact.")] = None,
    answer: Annotated[str | None, typer.Option(help="The answer to forget.")] = None,
    alias: Annotated[list[str] | None, typer.Option(help="Another spelling of the answer; may be repeated.")] = None,
    text: Annotated[str | None, typer.Option(help="A passage that the model knows by heart.")] = None,
    span: Annotated[list[str] | None, typer.Option(help="Part of the passage to forget; may be repeated.")] = None,
    about: Annotated[str | None, typer.Option(help="A person's name: forget what the model says of them.")] = None,
    retain: Annotated[list[str] | None, typer.Option(help="A prompt whose reply must stay; may be repeated.")] = None,
    reference: Annotated[str | None, typer.Option(help="Your own case number; not a name.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="JSON file with the whole request, - for standard input. Keeps it out of the process list."),
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and request stand for one deletion; made if absent.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end, like r2f watch.")] = False,
    as_json: Json = False,
    server: Server = LOCAL,
    key_file: KeyFile = None,
) -> None:
    """Ask a model to forget; prints the deletion's id."""
    if file is not None:
        request = _read(file)
    else:
        request = _typed(model, _target(prompt, answer, alias, text, span, about), retain, reference)
    _check(request)
    key = uuid4().hex if idempotency_key is None else idempotency_key
    if not key.isascii() or not key.isprintable() or not key.strip():
        raise UsedWrongly("An idempotency key is one line of visible ASCII characters.")
    with connected(server, key_file) as client:
        receipt = _submit(client, request, key)
    if as_json:
        sys.stdout.write(receipt.model_dump_json() + "\n")
    else:
        out.print(receipt.id, highlight=False)
    if watch:
        follow(receipt.id, server, key_file, as_json=as_json)


def _submit(client: "Client", request: "DeletionRequest", key: str) -> "Receipt":
    """Post it; where it is unknown whether it arrived, say how to find out without doing it twice."""
    from app.client import Unreachable

    hint = f"If it arrived all the same, the same request with --idempotency-key {key} finds it; nothing runs twice."
    try:
        return client.submit(request, idempotency_key=key)
    except KeyboardInterrupt:
        err.print(hint, soft_wrap=True)
        raise
    except Unreachable as error:
        raise ServerUnreachable(f"{error}\n{hint}") from error


def _read(file: Path) -> "DeletionRequest":
    """A whole request; the service checks what is in it."""
    try:
        content = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadRequest(f"{file} cannot be read as JSON.") from error
    if not isinstance(content, dict):
        raise BadRequest(f"{file} must hold one JSON object.")
    return cast("DeletionRequest", content)


def _check(request: "DeletionRequest") -> None:
    """See that it can be written as JSON in UTF-8: no NaN, no half of a letter; raises BadRequest."""
    try:
        json.dumps(request, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise BadRequest("The request holds text that is not valid Unicode; give it as UTF-8.") from error
    except ValueError as error:
        raise BadRequest("The request holds a number that JSON has no way to write.") from error


def _target(
    prompt: str | None,
    answer: str | None,
    aliases: list[str] | None,
    text: str | None,
    spans: list[str] | None,
    about: str | None,
) -> dict[str, Any]:
    """The one target that was typed; raises NothingToForget for half a one, or more than one."""
    fact: dict[str, Any] = {"prompt": prompt, "answer": answer} | ({"aliases": aliases} if aliases else {})
    whole: list[tuple[dict[str, Any], tuple[object, ...]]] = [
        (fact, (prompt, answer)),
        ({"text": text, "spans": spans}, (text, spans)),
        ({"about": about}, (about,)),
    ]
    begun = [(target, parts) for target, parts in whole if any(target.values())]
    if len(begun) != 1 or not all(begun[0][1]):
        raise NothingToForget
    return begun[0][0]


def _typed(
    model: str | None, target: dict[str, Any], retain: list[str] | None, reference: str | None
) -> "DeletionRequest":
    if model is None:
        raise NothingToForget("Say which model is to forget it: --model; r2f models list shows them.")
    request: dict[str, Any] = {"model": model, "targets": [target]}
    if retain:
        request["retain"] = [{"prompt": prompt} for prompt in retain]
    if reference:
        request["reference"] = reference
    return cast("DeletionRequest", request)
