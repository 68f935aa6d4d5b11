"""What must hold before a command does its work: settings, packages, database, model, worker."""

import importlib.util
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from app.database import Database, migrate
from app.errors import ModelNotFound
from app.folders import make_private
from app.models import ServedModel
from app.records import Records, open_records
from app.registry import Registry
from app.settings import Settings
from app.supervisor import CommandFailed, WorkerNotReady
from app.workers import Workers


class BadSettings(CommandFailed):
    """The settings cannot be used."""

    code = 2


def settings_of(**given: Any) -> Settings:
    """The settings of the environment, with what the command line says instead; unsafe ones refuse to start."""
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        lines = [f"{_variable(wrong['loc'])}{wrong['msg']}" for wrong in error.errors(include_input=False)]
        raise BadSettings("\n".join(["The settings cannot be used:", *lines])) from error
    if settings.traces and importlib.util.find_spec("opentelemetry.sdk") is None:
        raise BadSettings("R2F_TRACES needs the extra packages: pip install 'recover-to-forget[traces]'.")
    return settings


def _variable(place: tuple[int | str, ...]) -> str:
    """The environment variable that a complaint is about; none for one about several."""
    return f"R2F_{place[0]}: ".upper() if place else ""


def need_worker_packages() -> None:
    """Raise CommandFailed where the worker's packages are not installed."""
    if importlib.util.find_spec("torch") is None:
        raise CommandFailed("This needs the worker's packages: pip install 'recover-to-forget[worker]'.")


def need_web_packages() -> None:
    """Raise CommandFailed where the API's packages are not installed."""
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
        raise CommandFailed("This needs the API's packages: pip install 'recover-to-forget[web]'.")


def need_data_folder(settings: Settings) -> None:
    """Make the data folder if need be; raise BadSettings where nothing can be kept in it."""
    folder = settings.data_dir
    try:
        make_private(folder)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise BadSettings(f"The data folder {folder} (R2F_DATA_DIR) cannot be used: {error.strerror}.") from error


def need_services(settings: Settings) -> None:
    """See that the parts of the API can be made: its keys, store, broker. What they talk to may be away for now."""
    from app import services

    made = services.build(settings)
    made.bell.close()
    made.database.close()


def bring_up_to_date(settings: Settings) -> None:
    """Migrate the database; raise CommandFailed when it does not answer."""
    need_data_folder(settings)
    try:
        migrate(settings.database)
    except (OperationalError, OSError) as error:  # the latter: a SQLite file that cannot be made
        raise CommandFailed(f"The database at {_where(settings)} does not answer.") from error
    except SQLAlchemyError as error:
        raise _unusable(settings, error) from error


@contextmanager
def records_of(settings: Settings) -> Iterator[Records]:
    """The database with the keys that it needs, for a command; raises CommandFailed where it cannot be used."""
    records = open_records(settings)
    try:
        yield records
    except SQLAlchemyError as error:
        raise _unusable(settings, error) from error
    finally:
        records.database.close()


def _unusable(settings: Settings, error: SQLAlchemyError) -> CommandFailed:
    """What is said of a database that answers with an error; its own words may hold what is in it."""
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or type(cause).__name__
    hint = "If its file is damaged, put a back-up in its place." if settings.database.startswith("sqlite") else ""
    return CommandFailed(f"The database at {_where(settings)} cannot be used: {code}. {hint}".rstrip())


def _where(settings: Settings) -> str:
    return make_url(settings.database).render_as_string(hide_password=True)


def need_database(settings: Settings) -> None:
    """Bring a database up to date that is there; raise CommandFailed where a command would make an empty one."""
    file = make_url(settings.database).database if settings.database.startswith("sqlite") else None
    if file is not None and not Path(file).exists():
        raise CommandFailed(f"There is no service's database at {file}: set R2F_DATA_DIR, or R2F_DATABASE_URL.")
    bring_up_to_date(settings)


def registered(settings: Settings, model: str | None) -> ServedModel:
    """A registered model, R2F_MODEL without an id; raises CommandFailed."""
    bring_up_to_date(settings)
    database = Database(settings.database)
    try:
        return Registry(database, settings).get(model or settings.model)
    except ModelNotFound as error:
        raise CommandFailed(f"No model is registered as {model or settings.model}; see r2f models list.") from error
    finally:
        database.close()


def see_that_a_worker_lives(settings: Settings) -> None:
    """Raise WorkerNotReady unless a worker of this machine and model sends heartbeats."""
    need_data_folder(settings)
    database = Database(settings.database)
    try:
        alive = [row for row in Workers(database, settings).alive() if row.host == platform.node()]
    except SQLAlchemyError as error:
        raise CommandFailed("The database does not answer, or has not been migrated.") from error
    finally:
        database.close()
    if not any(row.model == settings.model for row in alive):
        raise WorkerNotReady(f"No worker of this machine serves {settings.model}.")
