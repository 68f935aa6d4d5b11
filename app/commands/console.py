"""What every command shares: two consoles, and how a command ends early."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table

from app.supervisor import CommandFailed, Terminated, terminable

INTERRUPTED = 130

out = Console()
err = Console(stderr=True, highlight=False)


def listing(*names: str) -> Table:
    """An empty table for `show`, without a frame."""
    return Table(*(Column(name, no_wrap=True) for name in names), box=None, pad_edge=False)


def show(table: Table) -> None:
    """Print a table with each row on a line of its own, as wide as it needs: cells that wrap can be neither read nor
    searched."""
    endless = Console(width=10_000)
    Console(width=Measurement.get(endless, endless.options, table).maximum).print(table)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what ends a command early into one clear message and an exit code."""
    try:
        with terminable():
            yield
    except CommandFailed as error:
        err.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(error.code) from error
    except KeyboardInterrupt as error:
        err.print("Interrupted.")
        raise typer.Exit(INTERRUPTED) from error
    except Terminated as error:
        raise typer.Exit(error.code) from error
