"""`r2f bench`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from app.commands.console import err, exit_codes, out
from app.methods import Method
from app.supervisor import CommandFailed

app = typer.Typer(help="Benchmarks; they come with the source, not with the package.", no_args_is_help=True)
SHOWN = 3


class BadBenchmarkFiles(CommandFailed):
    """The files are not in the benchmark's public format."""

    code = 2


def find_benchmarks() -> None:
    """Make the folder `benchmarks` of the source importable; raise CommandFailed where there is none."""
    source = Path(__file__).resolve().parents[2]
    if not (source / "benchmarks" / "readers").is_dir():
        raise CommandFailed("Benchmarks come with the source: run this from a clone, installed with --editable.")
    if str(source) not in sys.path:
        sys.path.insert(0, str(source))


@app.command("read")
@exit_codes()
def read_benchmark(
    form: Annotated[str, typer.Argument(help="tofu, rwku, wmdp, muse, waterdrum, lume, knowundo or blur.")],
    folder: Annotated[Path, typer.Argument(help="Folder with the files, as they are published.")],
    part: Annotated[str | None, typer.Option(help="TOFU's split, RWKU's target or WMDP's domain.")] = None,
) -> None:
    """Read a public benchmark's files, and show what must go, what must stay and what is asked."""
    find_benchmarks()
    from benchmarks.readers import BadBenchmark, read

    try:
        made = read(form, folder, part)
    except BadBenchmark as error:
        raise BadBenchmarkFiles(str(error)) from error
    table = Table("", "items", "the first of them", title=made.name, title_justify="left")
    for title, items in (("must go", made.forget), ("must stay", made.retain), ("is asked", made.questions)):
        shown = "\n".join(f"{item.prompt} → {item.answer or '—'}" for item in items[:SHOWN])
        table.add_row(title, str(len(items)), Text(shown))
    for title, texts in (("texts that must go", made.passages), ("texts that must stay", made.retained_passages)):
        table.add_row(title, str(len(texts)), Text("\n".join(text[:200] for text in texts[:1])))
    out.print(table)
    if made.taught:
        out.print("A model must be fine-tuned on it before there is anything to forget.")


@app.command("unlearning")
@exit_codes()
def unlearning(
    data: Annotated[Path | None, typer.Option(help="Folder with known_1000; the packaged facts if absent.")] = None,
    methods: Annotated[list[Method] | None, typer.Option("--method", help="May be repeated; all if absent.")] = None,
    facts: Annotated[int, typer.Option(min=1, help="Known facts that are forgotten, one at a time.")] = 16,
    seeds: Annotated[int, typer.Option(min=1)] = 1,
    file: Annotated[Path, typer.Option("--out", help="A line of JSON for each unit; what is in it is kept.")] = Path(
        "unlearning.jsonl"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="One fact, three methods.")] = False,
) -> None:
    """Compare Recover-to-Forget with other methods: forgetting, utility, relearning, rounding, seconds."""
    find_benchmarks()
    from app.preflight import need_worker_packages, registered, settings_of

    settings = settings_of()
    need_worker_packages()
    served = registered(settings, None)
    from benchmarks.unlearning import BadData, run, table
    from benchmarks.unlearning import facts as read_facts
    from worker.loading import load

    try:
        requests = read_facts(served.id, data)
    except BadData as error:
        raise BadBenchmarkFiles(str(error)) from error
    chosen = [Method.R2F, Method.FULL_GRADIENT, Method.NPO] if quick and not methods else methods or list(Method)
    with Progress(console=err) as bar:
        shown = bar.add_task("loading", total=1.0)
        loaded = load(served, settings, lambda text, share: bar.update(shown, description=text))
        rows = run(
            loaded,
            requests,
            chosen,
            wanted=1 if quick else facts,
            seeds=1 if quick else seeds,
            out=file,
            progress=lambda share: bar.update(shown, description="unlearning", completed=share),
        )
    file.with_suffix(".md").write_text(table(rows) + "\n", encoding="utf-8")
    out.print(table(rows), markup=False, soft_wrap=True)
