"""Whatever the service keeps in files is for its owner alone, even in a folder that everybody can look into."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.database import migrate
from app.settings import Settings
from tests.conftest import FRANCE, FakePipeline, caller, wired, worker_on


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder that was made by hand, by somebody whose files are usually open to all."""
    before = os.umask(0o022)
    (tmp_path / "data").mkdir()
    yield tmp_path / "data"
    os.umask(before)


def test_no_file_and_no_folder_of_the_service_is_open_to_others(folder: Path):
    settings = Settings(data_dir=folder)
    migrate(settings.database)
    with caller(settings) as client:
        assert client.post("/deletions", json=FRANCE).status_code == 202
        worker_on(wired(client), FakePipeline()).runner.work()
        found = {path.relative_to(folder): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}
    kinds = {path.suffix for path in found}
    assert {".db", ".db-wal", ".db-shm", ".key", ".msg", ".zip", ".safetensors"} <= kinds
    assert {path: oct(mode) for path, mode in found.items() if mode & 0o077} == {}
