"""`r2f bench`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from app.commands.connection import Json
from app.commands.console import err, exit_codes, out
from app.methods import Method
from app.supervisor import CommandFailed

if TYPE_CHECKING:
    from app.schemas import DeletionRequest
    from benchmarks.cases import Row
    from worker.loading import Loaded

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


DataFolder = Annotated[Path | None, typer.Option(help="Folder with known_1000; the packaged facts if absent.")]
Quick = Annotated[bool, typer.Option("--quick", help="One fact, three of them.")]


@app.command("unlearning")
@exit_codes()
def unlearning(
    data: DataFolder = None,
    methods: Annotated[list[Method] | None, typer.Option("--method", help="May be repeated; all if absent.")] = None,
    facts: Annotated[int, typer.Option(min=1, help="Known facts that are forgotten, one at a time.")] = 16,
    seeds: Annotated[int, typer.Option(min=1)] = 1,
    controls: Annotated[int, typer.Option(min=0, help="Unknown facts that are taught, to judge relearning.")] = 8,
    file: Annotated[Path, typer.Option("--out", help="A line of JSON for each unit; what is in it is kept.")] = Path(
        "unlearning.jsonl"
    ),
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Compare Recover-to-Forget with other methods: forgetting, utility, relearning, rounding, seconds."""
    loaded, requests, bar = _prepared(data)
    from benchmarks.unlearning import compare, table

    chosen = [Method.R2F, Method.FULL_GRADIENT, Method.NPO] if quick and not methods else methods or list(Method)
    with bar:
        rows = compare(
            loaded,
            requests,
            chosen,
            wanted=1 if quick else facts,
            seeds=1 if quick else seeds,
            controls=0 if quick else controls,
            out=file,
            progress=lambda share: bar.update(bar.task_ids[0], description="unlearning", completed=share),
        )
    _written(table(rows), rows, file, as_json)


@app.command("decoding")
@exit_codes()
def decoding(
    data: DataFolder = None,
    ways: Annotated[list[str] | None, typer.Option("--way", help="May be repeated; all if absent.")] = None,
    ranks: Annotated[list[int] | None, typer.Option("--rank", min=1, help="Sketch rank; may be repeated.")] = None,
    facts: Annotated[int, typer.Option(min=1, help="Known facts that are forgotten, one at a time.")] = 60,
    seeds: Annotated[int, typer.Option(min=1)] = 1,
    whole: Annotated[bool, typer.Option("--whole", help="Sampled replies, rounding and relearning too.")] = False,
    file: Annotated[Path, typer.Option("--out", help="A line of JSON for each unit; what is in it is kept.")] = Path(
        "decoding.jsonl"
    ),
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Compare ways to recover a gradient, all else equal: does the decoder matter?"""
    loaded, requests, bar = _prepared(data)
    from benchmarks.decoding import QUICK_WAYS, WAYS, compare, table

    if wrong := sorted(set(ways or ()) - set(WAYS)):
        raise typer.BadParameter(f"there is no way {wrong[0]}; there are {', '.join(WAYS)}", param_hint="--way")
    with bar:
        rows = compare(
            loaded,
            requests,
            ways or (QUICK_WAYS if quick else WAYS),
            ranks or [8],
            wanted=1 if quick else facts,
            seeds=1 if quick else seeds,
            whole=whole,
            out=file,
            progress=lambda share: bar.update(bar.task_ids[0], description="decoding", completed=share),
        )
    _written(table(rows), rows, file, as_json)


@app.command("ablations")
@exit_codes()
def ablations(
    data: DataFolder = None,
    variants: Annotated[list[str] | None, typer.Option("--variant", help="May be repeated; all if absent.")] = None,
    facts: Annotated[int, typer.Option(min=1, help="Known facts that are forgotten, one at a time.")] = 16,
    seeds: Annotated[int, typer.Option(min=1)] = 1,
    whole: Annotated[bool, typer.Option("--whole", help="Sampled replies, rounding and relearning too.")] = False,
    file: Annotated[Path, typer.Option("--out", help="A line of JSON for each unit; what is in it is kept.")] = Path(
        "ablations.jsonl"
    ),
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Change one part of the method at a time: curvature, rounds, depth, views, ranks, loss."""
    loaded, requests, bar = _prepared(data)
    from benchmarks.ablations import QUICK, VARIANTS, WHOLE, compare, table

    if wrong := sorted(set(variants or ()) - set(VARIANTS)):
        raise typer.BadParameter(
            f"there is no variant {wrong[0]}; there are {', '.join(VARIANTS)}", param_hint="--variant"
        )
    with bar:
        rows = compare(
            loaded,
            requests,
            list(dict.fromkeys((WHOLE, *variants))) if variants else QUICK if quick else list(VARIANTS),
            wanted=1 if quick else facts,
            seeds=1 if quick else seeds,
            whole=whole,
            out=file,
            progress=lambda share: bar.update(bar.task_ids[0], description="ablations", completed=share),
        )
    _written(table(rows), rows, file, as_json)


def _prepared(data: Path | None) -> tuple["Loaded", "list[DeletionRequest]", Progress]:
    """The model, ready; the facts; and a bar that has shown how it got ready."""
    find_benchmarks()
    from app.preflight import need_worker_packages, registered, settings_of

    settings = settings_of()
    need_worker_packages()
    served = registered(settings, None)
    from benchmarks.cases import BadData
    from benchmarks.cases import facts as read_facts
    from worker.loading import load

    try:
        requests = read_facts(served.id, data)
    except BadData as error:
        raise BadBenchmarkFiles(str(error)) from error
    bar = Progress(console=err)
    shown = bar.add_task("loading", total=1.0)
    with bar:
        loaded = load(served, settings, lambda text, share: bar.update(shown, description=text))
    return loaded, requests, bar


def _written(table: str, rows: "list[Row]", beside: Path, as_json: bool) -> None:
    """Print a table, or its rows as JSON, and keep it beside them with its picture and what made it."""
    from benchmarks.plots import plot
    from benchmarks.provenance import provenance

    picture = beside.with_suffix(".png")
    plot(rows, picture)
    words = "\n\n".join((table, f"![Means with intervals]({picture.name})", provenance()))
    beside.with_suffix(".md").write_text(words + "\n", encoding="utf-8")
    if as_json:
        sys.stdout.write("".join(json.dumps(row) + "\n" for row in rows))
    else:
        out.print(table, markup=False, soft_wrap=True)
