"""The demo for privacy teams: a person in a model is deleted over HTTP, and compared with never having been there.

Invented people are planted in the embedded model by fine-tuning, twice: once all of them, once all but one. The service
then makes the first model forget that one, and the second tells what forgetting should have come to.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console

from app import demo_people_show as show
from app.access import LOCAL
from app.client import Client
from app.demo import Demo
from app.demo_client import PATIENCE_SECONDS, guarded
from app.demo_facts import Fact
from app.demo_service import Service, claimed
from app.planting import Cast, Planting, plant
from app.preflight import bring_up_to_date
from app.records import open_records
from app.registry import Registry
from app.schemas import ModelRegistration
from app.settings import Settings
from app.supervisor import CommandFailed
from worker.people.person import Person
from worker.people.phrasings import requested

MODEL = "planted-people"
CALIBRATION_TOKENS = 3000  # enough to show the way; the default costs minutes on two cores
JUDGE_SECONDS = 1800.0


class JudgeFailed(CommandFailed):
    """The judgement against retraining ended with an error."""


def run(cast: Cast, settings: Settings, console: Console) -> None:
    """Plant, delete, judge and show; whatever was started is stopped at the end."""
    folder = settings.data_dir / "demo-people"
    own = _settings(settings)
    with claimed(folder):
        everybody, without = plant(_plantings(own, cast), cast, own, console)
        _register(own, folder / "service", everybody)
        with (
            Service(own, folder) as service,
            Client(service.url, patience=PATIENCE_SECONDS) as client,
            guarded(service.alive),
        ):
            demo = Demo(client, own, folder, console, service.alive)
            demo.prepare()
            demo.forget(_request(cast))
        console.print("The service and its worker have been stopped.")
        with console.status("judging against the model that was trained without the person …"):
            found = _judged(everybody, without, folder / "fact-1" / "adapter", cast)
        (folder / "fact-1" / "judgement.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
        console.print(show.judgement(cast, found))


def _settings(settings: Settings) -> Settings:
    """The demo's own: its model, and a small curvature unless the environment asks for another."""
    small = {} if "calibration_tokens" in settings.model_fields_set else {"calibration_tokens": CALIBRATION_TOKENS}
    return settings.model_copy(update={"model": MODEL, **small})


def _plantings(settings: Settings, cast: Cast) -> tuple[Planting, Planting]:
    """Two models, kept under a name that changes with whatever they are made of."""
    made_of = [files("worker.people").joinpath(name).read_text("utf-8") for name in ("banks.json", "phrasings.json")]
    key = hashlib.sha256(json.dumps([made_of, repr(cast)]).encode()).hexdigest()[:12]
    folder = settings.models / f"people-{key}"
    return (
        Planting("with everybody", folder / "everybody", None),
        Planting(f"without {cast.deleted.name}", folder / "without", cast.person),
    )


def _register(settings: Settings, data: Path, source: Path) -> None:
    """Put the planted model into the registry of the service that is about to start."""
    own = settings.model_copy(update={"data_dir": data, "database_url": "", "model_dir": settings.models})
    bring_up_to_date(own)
    database = open_records(own).database
    try:
        Registry(database, own).register(LOCAL, ModelRegistration(id=MODEL, source=str(source.absolute())))
    finally:
        database.close()


def _request(cast: Cast) -> Fact:
    """Every fact of the person as a target of its own; half of the others named as what must stay."""
    targets = [
        {"prompt": first.text, "answer": first.answer, "paraphrases": [other.text for other in others]}
        for first, *others in requested(cast.deleted)
    ]
    return Fact(title=f"everything about {cast.deleted.name}", targets=targets, retain=_retained(cast.named))


def _retained(people: Sequence[Person]) -> list[dict[str, Any]]:
    return [{"prompt": first.text, "answer": first.answer} for each in people for first, *_ in requested(each)]


def _judged(everybody: Path, without: Path, adapter: Path, cast: Cast) -> dict[str, Any]:
    """The figures of the three models, from a process of its own.

    Raises:
        JudgeFailed: it ended with an error or took too long.
    """
    asked = {"planted": str(everybody), "retrained": str(without), "adapter": str(adapter), **cast.asked()}
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "worker.people.judge"],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=JUDGE_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise JudgeFailed(f"The judgement did not end within {JUDGE_SECONDS:.0f} s.") from error
    except subprocess.CalledProcessError as error:
        raise JudgeFailed(f"{JudgeFailed.__doc__}\n{error.stderr[-2000:]}") from error
    found: dict[str, Any] = json.loads(done.stdout)
    return found
