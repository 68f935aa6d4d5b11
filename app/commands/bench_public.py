"""`r2f bench read` and `r2f bench taught`: public benchmarks, in the files that are published."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from app.commands.bench_files import BadBenchmarkFiles, Out, find_benchmarks, write
from app.commands.connection import Json
from app.commands.console import err, exit_codes, out
from app.methods import Method
from app.supervisor import CommandFailed

app = typer.Typer()
SHOWN = 3


@app.command("read")
@exit_codes()
def read_benchmark(
    form: Annotated[str, typer.Argument(help="tofu, rwku, wmdp, muse, waterdrum, lume, knowundo or blur.")],
    folder: Annotated[Path, typer.Argument(help="Folder with the files, as they are published.")],
    part: Annotated[str | None, typer.Option(help="TOFU's split, RWKU's target or WMDP's domain.")] = None,
    as_json: Json = False,
) -> None:
    """Read a public benchmark's files, and show what must go, what must stay and what is asked."""
    find_benchmarks()
    from benchmarks.readers import BadBenchmark, read

    try:
        made = read(form, folder, part)
    except BadBenchmark as error:
        raise BadBenchmarkFiles(str(error)) from error
    if as_json:
        sys.stdout.write(json.dumps(asdict(made)) + "\n")
        return
    table = Table("", "items", "the first of them", title=made.name, title_justify="left")
    for title, items in (("must go", made.forget), ("must stay", made.retain), ("is asked", made.questions)):
        shown = "\n".join(f"{item.prompt} → {item.answer or '—'}" for item in items[:SHOWN])
        table.add_row(title, str(len(items)), Text(shown))
    for title, texts in (("texts that must go", made.passages), ("texts that must stay", made.retained_passages)):
        table.add_row(title, str(len(texts)), Text("\n".join(text[:200] for text in texts[:1])))
    out.print(table)
    if made.taught:
        out.print("A model must be fine-tuned on it before there is anything to forget.")


@app.command("taught")
@exit_codes()
def taught(
    form: Annotated[str, typer.Argument(help="tofu, lume or knowundo.")],
    folder: Annotated[Path, typer.Argument(help="Folder with the files, as they are published.")],
    part: Annotated[str | None, typer.Option(help="TOFU's split.")] = None,
    forget: Annotated[int, typer.Option(min=1, max=16, help="Questions whose answers must go, in one request.")] = 8,
    first: Annotated[int, typer.Option(min=0, help="Number of the first of them.")] = 0,
    retain: Annotated[int, typer.Option(min=2, max=128, help="Questions whose answers must stay.")] = 24,
    method: Annotated[Method, typer.Option(help="What computes the adapter.")] = Method.R2F,
    passes: Annotated[int, typer.Option(min=1, help="Times that each answer is taught.")] = 20,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    file: Out = Path("taught.jsonl"),
    quick: Annotated[bool, typer.Option("--quick", help="Two questions to forget, four to keep.")] = False,
    as_json: Json = False,
) -> None:
    """Teach a model a public benchmark, delete some of it, and judge beside a model that was never taught that."""
    find_benchmarks()
    from app.preflight import need_worker_packages, registered, settings_of

    settings = settings_of()
    need_worker_packages()
    from benchmarks.facts import BadData
    from benchmarks.readers import BadBenchmark, read
    from benchmarks.taught import case, plot, run, table
    from worker.errors import PipelineError
    from worker.people.planting import Recipe

    bar = Progress(console=err)
    shown = bar.add_task("loading", total=1.0)
    try:
        chosen = case(read(form, folder, part), 2 if quick else forget, 4 if quick else retain, first)
        with bar:
            rows = run(
                registered(settings, None),
                settings,
                chosen,
                method=method,
                recipe=Recipe(passes=passes, seed=seed),
                out=file,
                notice=lambda text, share: bar.update(shown, description=text, completed=share or 0.0),
            )
    except (BadBenchmark, BadData) as error:
        raise BadBenchmarkFiles(str(error)) from error
    except PipelineError as error:
        raise CommandFailed(str(error)) from error
    write(table(rows), rows, file, as_json, plot)
