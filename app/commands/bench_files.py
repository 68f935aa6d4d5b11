"""What the commands of `r2f bench` share: where the benchmarks are, and the files that they write."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.console import out
from app.supervisor import CommandFailed

if TYPE_CHECKING:
    from benchmarks.measures import Row

Out = Annotated[Path, typer.Option("--out", help="A line of JSON for each unit; what is in it is kept.")]


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


def write(
    table: str,
    rows: "list[Row]",
    beside: Path,
    as_json: bool,
    picture: Callable[["list[Row]", Path], None] | None = None,
) -> None:
    """Print a table, or its rows as JSON, and keep it beside them with its picture and what made it."""
    from benchmarks.plots import plot
    from benchmarks.provenance import provenance

    drawn = beside.with_suffix(".png")
    (picture or plot)(rows, drawn)
    words = "\n\n".join((table, f"![What the table says, drawn]({drawn.name})", provenance(rows)))
    beside.with_suffix(".md").write_text(words + "\n", encoding="utf-8")
    if as_json:
        sys.stdout.write("".join(json.dumps(row) + "\n" for row in rows))
    else:
        out.print(table, markup=False, soft_wrap=True)
