"""What operators do where the database is: keys, seals, signatures, the audit log; and what is said when it is lost."""

import json
import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.database import migrate
from app.masterkeys import load_master_keys
from app.settings import Settings
from tests.app.processes import r2f


def test_keys_are_listed_a_line_each_and_as_json(environment: dict[str, str]):
    made = r2f(environment, "keys", "create", "billing", "--scope", "deletions:write", "--scope", "deletions:read")
    assert re.fullmatch(r"r2f_[0-9a-f]{16}_[0-9a-f]{64}\n", made.stdout)
    listed = r2f({**environment, "COLUMNS": "40"}, "keys", "list")
    (_, row) = listed.stdout.splitlines()
    assert "billing  default  deletions:read deletions:write" in row
    (key,) = json.loads(r2f(environment, "keys", "list", "--json").stdout)
    assert row.startswith(key["id"])
    assert key["scopes"] == ["deletions:read", "deletions:write"]
    assert key["revoked_at"] is None
    assert made.stdout.strip().rpartition("_")[2] not in listed.stdout
    for days in ("0", "1e12"):  # neither for ever nor beyond the calendar
        assert r2f(environment, "keys", "create", "x", "--scope", "admin", "--days", days).returncode == 2


def test_what_changes_a_service_says_what_it_did_as_json(environment: dict[str, str]):
    def told(*arguments: str) -> Any:
        done = r2f(environment, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    made = told("keys", "create", "billing", "--scope", "deletions:read", "--days", "30")
    assert made["key"].startswith(f"r2f_{made['id'].removeprefix('key_')}_")
    assert (made["name"], made["tenant"], made["scopes"]) == ("billing", "default", ["deletions:read"])
    assert datetime.fromisoformat(made["expires_at"]) > datetime.now(UTC)
    assert told("keys", "revoke", made["id"])["revoked_at"] is not None
    assert [key["id"] for key in told("keys", "list")] == [made["id"]]
    assert told("signing", "rotate")["key_id"]
    assert told("seal", "rotate")["epoch"]
    log = told("audit", "verify")
    assert (log["intact"], log["fault"]) == (True, None)
    assert log["events"] == log["head_sequence"] > 0


def test_a_log_that_does_not_hold_is_json_too_and_exit_code_1(environment: dict[str, str], tmp_path: Path):
    assert r2f(environment, "keys", "create", "billing", "--scope", "admin").returncode == 0
    with sqlite3.connect(tmp_path / "data" / "r2f.db") as database:
        database.execute("UPDATE audit_events SET actor = 'nobody' WHERE id = 1")
    done = r2f(environment, "audit", "verify", "--json")
    assert done.returncode == 1
    assert (json.loads(done.stdout)["broken_at"], json.loads(done.stdout)["fault"]) == (1, "edited")
    assert "Event 1" in done.stderr


ABOUT_A_SERVICE = [["audit", "verify"], ["keys", "create", "x", "--scope", "admin"], ["signing", "rotate"]]


@pytest.mark.parametrize("command", ABOUT_A_SERVICE, ids=" ".join)
def test_a_lost_master_key_is_one_line_that_says_where_it_belongs(
    environment: dict[str, str], tmp_path: Path, command: list[str]
):
    assert r2f(environment, "keys", "create", "billing", "--scope", "admin").returncode == 0
    (tmp_path / "data" / "master.key").unlink()
    done = r2f(environment, *command)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (1, 1, "")
    assert "R2F_MASTER_KEY" in done.stderr


@pytest.mark.parametrize(
    ("command", "content", "mode", "said"),
    [
        (["audit", "verify"], None, 0o644, "chmod 600"),
        (["keys", "create", "x", "--scope", "admin"], b"***\n", 0o600, "back-up"),
        (["signing", "rotate"], b"", 0o600, "back-up"),
        (["serve", "--no-worker", "--port", "0"], b"***\n", 0o600, "back-up"),
        (["serve", "--no-worker", "--port", "0"], b"QUJD\n", 0o600, "32"),
    ],
    ids=["readable by others", "not base64", "empty", "serve, not base64", "serve, short"],
)
def test_a_key_file_that_cannot_be_used_is_one_line_and_exit_code_2(
    environment: dict[str, str], tmp_path: Path, command: list[str], content: bytes | None, mode: int, said: str
):
    data = tmp_path / "data"
    data.mkdir()
    migrate(f"sqlite:///{data / 'r2f.db'}")
    load_master_keys(Settings(data_dir=data))
    if content is not None:
        (data / "master.key").write_bytes(content)
    (data / "master.key").chmod(mode)
    done = r2f(environment, *command)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, ""), done.stderr
    assert said in done.stderr


@pytest.mark.parametrize("command", [["migrate"], ["audit", "verify"]], ids=" ".join)
def test_a_damaged_database_is_one_line(environment: dict[str, str], tmp_path: Path, command: list[str]):
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "r2f.db").write_bytes(b"Zebulon " * 1000)
    done = r2f(environment, *command)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (1, 1, "")
    assert "SQLITE_NOTADB" in done.stderr
    assert "Zebulon" not in done.stderr


@pytest.mark.parametrize(
    "command",
    ["keys create x --scope admin --tenant A!", "audit verify --anchor 7", "demo-people --people 3 --person 3"],
)
def test_what_cannot_be_meant_is_exit_code_2(environment: dict[str, str], command: str):
    done = r2f(environment, *command.split())
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["keys list", "keys revoke key_0", "audit verify", "seal rotate", "signing rotate"])
def test_a_command_about_a_service_makes_none_where_there_is_none(
    environment: dict[str, str], tmp_path: Path, command: str
):
    done = r2f(environment, *command.split())
    assert done.returncode == 1
    assert str(tmp_path / "data" / "r2f.db") in done.stderr
    assert "R2F_DATA_DIR" in done.stderr
    assert not (tmp_path / "data").exists()
