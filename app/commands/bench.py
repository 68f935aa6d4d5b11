"""`r2f bench`."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from app.commands import bench_public
from app.commands.bench_files import BadBenchmarkFiles, Out, find_benchmarks, write
from app.commands.connection import Json
from app.commands.console import err, exit_codes
from app.methods import Method

if TYPE_CHECKING:
    from benchmarks.measures import Row

app = typer.Typer(help="Benchmarks; they come with the source, not with the package.", no_args_is_help=True)
app.add_typer(bench_public.app)

DataFolder = Annotated[Path | None, typer.Option(help="Folder with known_1000; the packaged facts if absent.")]
Facts = Annotated[int, typer.Option(min=1, help="Known facts that are forgotten, one at a time.")]
Seeds = Annotated[int, typer.Option(min=1)]
Whole = Annotated[bool, typer.Option("--whole", help="Sampled replies, rounding and relearning too.")]
Tuning = Annotated[bool, typer.Option("--tuning", help="The half of the facts that settings are chosen on.")]
Quick = Annotated[bool, typer.Option("--quick", help="A try-out: a fact or two, part of what is compared.")]


@app.command("unlearning")
@exit_codes()
def unlearning(
    data: DataFolder = None,
    methods: Annotated[list[Method] | None, typer.Option("--method", help="May be repeated; all if absent.")] = None,
    facts: Facts = 16,
    seeds: Seeds = 1,
    whole: Whole = False,
    controls: Annotated[int, typer.Option(min=0, help="Unknown facts that are taught, with --whole.")] = 8,
    file: Out = Path("unlearning.jsonl"),
    tuning: Tuning = False,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Compare Recover-to-Forget with other methods: forgetting, utility, seconds; relearning and rounding if asked."""
    find_benchmarks()
    from benchmarks.unlearning import QUICK, compare, table

    work = partial(
        compare,
        methods=methods or (QUICK if quick else list(Method)),
        wanted=1 if quick else facts,
        seeds=1 if quick else seeds,
        whole=whole,
        controls=controls if whole and not quick else 0,
    )
    _run("unlearning", work, table, data, file, tuning=tuning, as_json=as_json)


@app.command("tuning")
@exit_codes()
def tuning(
    data: DataFolder = None,
    methods: Annotated[list[Method] | None, typer.Option("--method", help="May be repeated; all if absent.")] = None,
    facts: Facts = 4,
    file: Out = Path("tuning.jsonl"),
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Try settings of the other methods, on facts that no table of methods reports."""
    find_benchmarks()
    from benchmarks.tuning import QUICK, TUNED, compare, table

    _chosen([*(methods or ())], TUNED, "--method")
    work = partial(compare, methods=methods or (QUICK if quick else TUNED), wanted=1 if quick else facts)
    _run("tuning", work, table, data, file, tuning=data is not None, as_json=as_json)


@app.command("decoding")
@exit_codes()
def decoding(
    data: DataFolder = None,
    ways: Annotated[list[str] | None, typer.Option("--way", help="May be repeated; all if absent.")] = None,
    ranks: Annotated[list[int] | None, typer.Option("--rank", min=1, help="Sketch rank; may be repeated.")] = None,
    facts: Facts = 60,
    seeds: Seeds = 1,
    whole: Whole = False,
    file: Out = Path("decoding.jsonl"),
    tuning: Tuning = False,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Compare ways to recover a gradient, all else equal: does the decoder matter?"""
    find_benchmarks()
    from benchmarks.decoding import QUICK, WAYS, compare, table

    work = partial(
        compare,
        ways=_chosen(ways, WAYS, "--way") or (QUICK if quick else WAYS),
        ranks=ranks or [8],
        wanted=1 if quick else facts,
        seeds=1 if quick else seeds,
        whole=whole,
    )
    _run("decoding", work, table, data, file, tuning=tuning, as_json=as_json)


@app.command("sequential")
@exit_codes()
def sequential(
    data: DataFolder = None,
    ways: Annotated[list[str] | None, typer.Option("--way", help="May be repeated; all if absent.")] = None,
    facts: Facts = 50,
    rank: Annotated[int, typer.Option(min=1, help="Of the composed adapter.")] = 64,
    file: Out = Path("sequential.jsonl"),
    tuning: Tuning = False,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Delete one fact after another on one model, composed into one adapter."""
    find_benchmarks()
    from benchmarks.sequential import WAYS, compare, plot, table

    work = partial(
        compare,
        ways=_chosen(ways, WAYS, "--way") or (WAYS[:1] if quick else WAYS),
        wanted=2 if quick else facts,
        rank=rank,
    )
    _run("sequential", work, table, data, file, tuning=tuning, as_json=as_json, picture=plot)


@app.command("lasting")
@exit_codes()
def lasting(
    data: DataFolder = None,
    facts: Facts = 60,
    controls: Annotated[int, typer.Option(min=0, help="Unknown facts that are taught, to judge relearning.")] = 8,
    file: Out = Path("lasting.jsonl"),
    tuning: Tuning = False,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """See whether forgetting lasts: rounded weights, relearning; and what a negated or amplified adapter tells."""
    find_benchmarks()
    from benchmarks.lasting import compare, plot, table

    work = partial(compare, wanted=1 if quick else facts, controls=0 if quick else controls)
    _run("lasting", work, table, data, file, tuning=tuning, as_json=as_json, picture=plot)


@app.command("merging")
@exit_codes()
def merging(
    data: DataFolder = None,
    rounding: Annotated[str, typer.Option(help="rtn4, rtn8, q4_1 or q8_0.")] = "q4_1",
    facts: Facts = 16,
    file: Out = Path("merging.jsonl"),
    tuning: Tuning = False,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Walk a deletion's path at the weights that its adapter will be merged into and rounded with."""
    find_benchmarks()
    from benchmarks.merging import compare, table
    from worker.r2f.quantisation import QUANTISERS

    (chosen,) = _chosen([rounding], QUANTISERS, "--rounding")
    work = partial(compare, rounding=chosen, wanted=1 if quick else facts)
    _run("merging", work, table, data, file, tuning=tuning, as_json=as_json)


@app.command("transfer")
@exit_codes()
def transfer(
    data: DataFolder = None,
    proxies: Annotated[list[str] | None, typer.Option("--proxy", help="May be repeated; all if absent.")] = None,
    facts: Facts = 4,
    file: Out = Path("transfer.jsonl"),
    tuning: Tuning = False,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Fit decoders on several proxies, and see how far each carries over to other models."""
    find_benchmarks()
    from benchmarks.transfer import PROXIES, QUICK, compare, plot, table

    work = partial(
        compare,
        proxies=_chosen(proxies, PROXIES, "--proxy") or (QUICK if quick else PROXIES),
        wanted=1 if quick else facts,
    )
    _run("transfer", work, table, data, file, tuning=tuning, as_json=as_json, picture=plot)


@app.command("ablations")
@exit_codes()
def ablations(
    data: DataFolder = None,
    variants: Annotated[list[str] | None, typer.Option("--variant", help="May be repeated; all if absent.")] = None,
    facts: Facts = 16,
    seeds: Seeds = 1,
    whole: Whole = False,
    file: Out = Path("ablations.jsonl"),
    tuning: Tuning = False,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Change one part of the method at a time: curvature, rounds, depth, views, ranks, loss."""
    find_benchmarks()
    from benchmarks.ablations import QUICK, VARIANTS, WHOLE, compare, table

    some = _chosen(variants, VARIANTS, "--variant")
    work = partial(
        compare,
        variants=list(dict.fromkeys((WHOLE, *some))) if some else QUICK if quick else list(VARIANTS),
        wanted=1 if quick else facts,
        seeds=1 if quick else seeds,
        whole=whole,
    )
    _run("ablations", work, table, data, file, tuning=tuning, as_json=as_json)


def _chosen(named: list[str] | None, there: Collection[str], option: str) -> list[str]:
    """What was named, if there is all of it."""
    if wrong := sorted(set(named or ()) - set(there)):
        raise typer.BadParameter(f"there is none called {wrong[0]!r}; there are {', '.join(there)}", param_hint=option)
    return named or []


def _run(
    name: str,
    work: Callable[..., "list[Row]"],
    table: Callable[["list[Row]"], str],
    data: Path | None,
    file: Path,
    *,
    tuning: bool,
    as_json: bool,
    picture: Callable[["list[Row]", Path], None] | None = None,
) -> None:
    """Get the model and the facts ready, do the work with a bar, and show the rows."""
    from app.preflight import need_worker_packages, registered, settings_of

    settings = settings_of()
    need_worker_packages()
    served = registered(settings, None)
    from benchmarks.facts import BadData
    from benchmarks.facts import facts as read_facts
    from worker.loading import load

    bar = Progress(console=err)
    shown = bar.add_task("loading", total=1.0)
    try:
        requests = read_facts(served.id, data, tuning=tuning)
        with bar:
            loaded = load(served, settings, lambda text, share: bar.update(shown, description=text))
            rows = work(
                loaded,
                requests,
                out=file,
                progress=lambda share: bar.update(shown, description=name, completed=share),
            )
    except BadData as error:
        raise BadBenchmarkFiles(str(error)) from error
    write(table(rows), rows, file, as_json, picture)
