"""A browser, and services for it to look at; what browsers see does not depend on the kind of database."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext

from app.access import DEFAULT_TENANT, Scope
from app.settings import Settings
from tests.browser import launched
from tests.conftest import FRANCE
from tests.serving import Served, serving
from tests.showcase import PATIENT, Shown, filled


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a file."""
    with launched() as running:
        yield running


@pytest.fixture
def served(tmp_path: Path, sqlite_template: Path) -> Iterator[Served]:
    """A running service without a record."""
    (tmp_path / "r2f.db").write_bytes(sqlite_template.read_bytes())
    with serving(Settings(data_dir=tmp_path, watch_seconds=0.05, log_level="WARNING")) as running:
        yield running


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Shown]:
    """A service with something of everything, and the paths of its pages; it is only looked at."""
    folder = tmp_path_factory.mktemp("shown")
    (folder / "r2f.db").write_bytes(sqlite_template.read_bytes())
    settings = Settings(data_dir=folder, log_level="WARNING", **PATIENT)
    pages = filled(settings)
    with serving(settings) as running:
        yield running, pages


def submit(served: Served) -> str:
    made: str = httpx.post(f"{served.url}/deletions", json=FRANCE).json()["id"]
    return made


def log_in(context: BrowserContext, served: Served) -> str:
    """Have a browser hold a session; the id of its key."""
    made = served.services.keys.create(DEFAULT_TENANT, "test", frozenset(Scope))
    assert context.request.post(f"{served.url}/session", data={"key": made.token}).status == 201
    return made.id
