"""`r2f worker`."""

import os
import sys
from typing import Annotated

import typer

from app.commands.console import exit_codes
from app.supervisor import worker_command


@exit_codes()
def worker(
    check: Annotated[bool, typer.Option("--check", help="Only tell whether a worker of this machine lives.")] = False,
) -> None:
    """Run one worker for the model R2F_MODEL; this process becomes it."""
    from app.preflight import need_data_folder, need_worker_packages, see_that_a_worker_lives, settings_of

    settings = settings_of()
    if check:
        see_that_a_worker_lives(settings)
        return
    need_data_folder(settings)
    need_worker_packages()
    command = worker_command()
    sys.stdout.flush()
    os.execv(command[0], command)
