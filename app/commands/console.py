"""What every command shares: two consoles, and how a command ends early."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table

from app.errors import KeyNotAtHand, R2FError, UnsafeKey
from app.supervisor import CommandFailed, Terminated, terminable

INTERRUPTED = 130
UNUSABLE = 2  # what was typed, or a setting
KEY_HINT = " Name it in R2F_MASTER_KEY, or put the key file back into the data folder (R2F_DATA_DIR)."

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
        _say(str(error))
        raise typer.Exit(error.code) from error
    except R2FError as error:
        code = UNUSABLE if isinstance(error, UnsafeKey) else 1
        _say(f"{error}{KEY_HINT if isinstance(error, KeyNotAtHand) else ''}")
        raise typer.Exit(code) from error
    except UnicodeEncodeError as error:  # of what was typed, or of a terminal that has too few letters
        _say(f"There is text here that cannot be written in {error.encoding}; give it as UTF-8, or set PYTHONUTF8=1.")
        raise typer.Exit(UNUSABLE) from error
    except KeyboardInterrupt as error:
        err.print("Interrupted.")
        raise typer.Exit(INTERRUPTED) from error
    except Terminated as error:
        raise typer.Exit(error.code) from error


def _say(message: str) -> None:
    """What is wrong, in one colour and as it is."""
    err.print(message, style="red", markup=False, soft_wrap=True)
