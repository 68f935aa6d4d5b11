"""A backup by the commands of docs/operations/backup.md, made while the service works, holds all it had accepted."""

import base64
import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import make_url

from app.errors import KeyNotAtHand
from app.settings import Settings
from app.verification import verify
from tests.conftest import FRANCE, POSTGRES, FakePipeline, caller, wired, worker_on

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "operations" / "backup.md").read_text("utf-8")
REQUEST = {**FRANCE, "reference": "case-7", "data_subject": "Jo Doe"}


def commands(settings: Settings) -> tuple[str, str]:
    """The document's commands to back up and to restore this kind of database."""
    _, _, chapter = TEXT.partition("## SQLite" if settings.database.startswith("sqlite") else "## PostgreSQL")
    blocks = re.findall(r"(?:^    .+\n)+", chapter.partition("\n## ")[0], re.MULTILINE)
    back_up, restore = (re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks)
    return back_up, restore


def run(script: str, settings: Settings, shelf: Path) -> None:
    """Run commands with the places of this test in those of the document."""
    places = {".r2f": settings.data_dir, "/backup": shelf / "backup", "/safe": shelf / "safe"}
    for name in ("backup", "safe"):
        (shelf / name).mkdir(exist_ok=True)
    for written, place in places.items():
        script = re.sub(rf"(?<![\w/]){re.escape(written)}(?=/|\s|$)", str(place), script)
    plain = make_url(settings.database).set(drivername="postgresql").render_as_string(hide_password=False)
    told = {**os.environ, "DATABASE": plain}
    subprocess.run(["sh", "-eu"], input=script, text=True, env=told, check=True, timeout=120, capture_output=True)


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Where a backup is restored to: another data folder, and another database."""
    moved = settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    if settings.database.startswith("sqlite"):
        yield moved
        return
    name = f"r2f_test_{secrets.token_hex(6)}"
    admin = make_url(POSTGRES).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        url = make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
        yield moved.model_copy(update={"database_url": url})
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def told(client: TestClient, settings: Settings, tmp_path: Path) -> dict[str, Any]:
    """What the service told before the backup: of one deletion that is completed, and of two that wait."""
    ids = [client.post("/deletions", json=REQUEST).json()["id"] for _ in range(3)]
    worker_on(wired(client), FakePipeline()).runner.work()
    links = client.get(f"/deletions/{ids[0]}").json()["links"]
    seen = {name: client.get(links[name]).content for name in ("report", "adapter", "certificate")}
    run(commands(settings)[0], settings, tmp_path)
    assert client.get("/deletions").json()["items"][0]["status"] == "queued"  # the service has gone on
    return {"ids": ids, "links": links, **seen, "jwks": client.get("/.well-known/jwks.json").json()}


def test_what_is_restored_is_opened_served_proved_and_worked_off(told, elsewhere, tmp_path, client):
    run(commands(elsewhere)[1], elsewhere, tmp_path)
    with caller(elsewhere) as restored:
        assert restored.get("/readyz").json()["checks"]["key"] == "ok"
        for name in ("report", "adapter", "certificate"):
            assert restored.get(told["links"][name]).content == told[name], name
        assert json.loads(told["report"])["evidence"] is not None
        assert all(check.holds for check in verify(told["certificate"], told["jwks"], told["adapter"]))
        head = json.loads(told["certificate"])["statement"]["audit_head"]
        verdict = restored.get("/audit/verify", params={"sequence": head["sequence"], "hash": head["hash"]}).json()
        assert (verdict["intact"], verdict["fault"]) == (True, None)
        worker = worker_on(wired(restored), FakePipeline(), "wrk_after")
        while worker.runner.work() is not None:
            pass
        found = restored.post("/deletions/search", json={"data_subject": "Jo Doe"}).json()["items"]
        assert {item["id"]: (item["status"], item["reference"]) for item in found} == dict.fromkeys(
            told["ids"], ("completed", "case-7")
        )
        assert restored.post("/deletions", json=FRANCE).status_code == 202
    assert client.get(f"/deletions/{told['ids'][1]}").json()["status"] == "queued"  # the original was left alone


def test_without_the_master_key_of_its_time_it_says_so_and_loses_nothing(told, elsewhere, tmp_path):
    script = re.sub(r"^.*master\.key.*$", "", commands(elsewhere)[1], flags=re.MULTILINE)
    run(script, elsewhere, tmp_path)
    other = elsewhere
    if elsewhere.master_key is not None:
        another = SecretStr(base64.b64encode(secrets.token_bytes(32)).decode())
        other = elsewhere.model_copy(update={"master_key": another})
    with caller(other) as restored:
        ready = restored.get("/readyz")
        assert (ready.status_code, [error["field"] for error in ready.json()["errors"]]) == (503, ["key"])
        for answer in (
            restored.get(told["links"]["self"]),
            restored.get(told["links"]["report"]),
            restored.get("/audit/verify"),
            restored.post("/deletions", json=FRANCE),
        ):
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/key-not-at-hand"), answer.url
        with pytest.raises(KeyNotAtHand):
            worker_on(wired(restored), FakePipeline(), "wrk_without").runner.work()
    if elsewhere.master_key is None:
        run("cp -p /safe/master.key .r2f/", elsewhere, tmp_path)
    with caller(elsewhere) as restored:
        assert restored.get("/readyz").status_code == 200
        worker = worker_on(wired(restored), FakePipeline(), "wrk_with")
        while worker.runner.work() is not None:
            pass
        assert [restored.get(f"/deletions/{one}").json()["status"] for one in told["ids"]] == ["completed"] * 3
