"""`r2f demo`."""

from pathlib import Path
from typing import Annotated

import typer

from app.commands.console import exit_codes, out


@exit_codes()
def demo(
    prompt: Annotated[str | None, typer.Option(help="A question that the model answers with the fact.")] = None,
    answer: Annotated[str | None, typer.Option(help="The answer to forget.")] = None,
    aliases: Annotated[str | None, typer.Option(help="Other spellings of the answer, with commas between.")] = None,
    text: Annotated[str | None, typer.Option(help="A passage that the model knows by heart.")] = None,
    span: Annotated[str | None, typer.Option(help="The part of the passage to forget, word for word.")] = None,
    facts: Annotated[Path | None, typer.Option(help="JSON file with a list of facts.", dir_okay=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All packaged facts, one after the other.")] = False,
) -> None:
    """Forget a fact on a real service and a real model, show what was said before and after, and stop everything."""
    from app import demo as tour
    from app.demo_facts import chosen
    from app.preflight import need_data_folder, need_worker_packages, settings_of

    wanted = chosen(prompt=prompt, answer=answer, aliases=aliases, text=text, span=span, path=facts, every=every)
    settings = settings_of()
    need_data_folder(settings)
    need_worker_packages()
    tour.run(wanted, settings, out)
