"""`r2f audit`."""

import sys
from typing import Annotated

import typer

from app.commands.connection import Json
from app.commands.console import exit_codes, out
from app.supervisor import CommandFailed, UsedWrongly

app = typer.Typer(help="The audit log.", no_args_is_help=True)


@app.command("verify")
@exit_codes()
def verify_audit(
    anchor: Annotated[
        str | None, typer.Option(help="SEQUENCE:HASH of an event as you have seen it, for instance on a certificate.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Follow the log from its start to its head; exit code 1, and the first broken link, when it does not hold."""
    from app.audit_check import Anchor, verify
    from app.audit_views import AuditVerdict
    from app.preflight import need_database, records_of, settings_of

    seen = None
    if anchor is not None:
        sequence, _, digest = anchor.partition(":")
        if not sequence.isdecimal() or len(digest) != 64:
            raise UsedWrongly("An anchor is a sequence number, a colon and a hash of 64 hexadecimal digits.")
        seen = Anchor(int(sequence), digest)
    settings = settings_of()
    need_database(settings)
    with records_of(settings) as records:
        verdict = verify(records.database, records.vault.secret("audit"), seen)
    if as_json:
        sys.stdout.write(AuditVerdict.of(verdict).model_dump_json() + "\n")
    if not verdict.intact:
        raise CommandFailed(f"Event {verdict.sequence} is the first that does not hold: {verdict.fault}.")
    if as_json:
        return
    out.print(f"The log holds: {verdict.events} events.")
    out.print(f"Its head is {verdict.head.sequence}:{verdict.head.hash}", soft_wrap=True)
