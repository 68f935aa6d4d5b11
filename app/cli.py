"""The command line `r2f`: which commands there are.

Exit codes: 0 done, and a deletion that was watched completed; 1 failed, refused by the service, or a watched deletion
failed or was canceled; 2 used wrongly or unsafe settings; 3 port in use; 4 no worker became ready; 5 server
unreachable; 6 worker keeps dying; 7 API key missing or refused; 8 a watched deletion awaits a review; 130 interrupted
(Ctrl-C); 143 asked to stop (SIGTERM).
"""

import typer

from app.commands import audit, bench, decoder, keys, models, seal, signing, webhooks
from app.commands.compose import compose
from app.commands.deletion import decision, list_deletions
from app.commands.demo import demo
from app.commands.demo_people import demo_people
from app.commands.migrate import migrate
from app.commands.results import adapter, certificate, report
from app.commands.serve import serve
from app.commands.submit import submit
from app.commands.verify import verify
from app.commands.watch import watch
from app.commands.worker import worker

app = typer.Typer(
    name="r2f",
    help="Make a language model forget, and prove it. Commands that talk to a service find it by R2F_SERVER, and their "
    "API key by R2F_KEY or --key-file.",
    epilog="Exit codes: 1 failed or refused, 2 used wrongly, 3 port in use, 4 no worker, 5 server unreachable, "
    "6 worker keeps dying, 7 key refused, 8 awaits a review, 130 interrupted, 143 asked to stop.",
    no_args_is_help=True,
)
for verb in (serve, worker, migrate, demo, submit, watch, report, adapter, certificate, compose, verify):
    app.command()(verb)
app.command("demo-people")(demo_people)
app.command("list")(list_deletions)
app.command("cancel")(decision("cancel", "Cancel a deletion; a running one ends at its worker's next check."))
app.command("retry")(decision("retry", "Run a failed or canceled deletion again."))
app.command("approve")(decision("approve", "Publish an adapter that awaits a review."))
app.command("reject")(decision("reject", "Refuse an adapter that awaits a review; the report stays."))
keys.app.command("rotate")(seal.rotate)
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(decoder.app, name="decoder")
app.add_typer(seal.app, name="seal")
app.add_typer(signing.app, name="signing")
app.add_typer(audit.app, name="audit")
app.add_typer(bench.app, name="bench")


if __name__ == "__main__":
    app()
