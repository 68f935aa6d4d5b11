"""The command line: it starts fast, says clearly what is wrong, and leaves nothing running."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from app.cli import app
from app.database import migrate
from app.masterkeys import load_master_keys
from app.server import Server
from app.settings import Settings
from app.supervisor import CommandFailed

COMMAND = [sys.executable, "-m", "app.cli"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose service lives in a fresh folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("R2F_")}
    return {**clean, "R2F_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "200"}


def r2f(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def serving(environment: dict[str, str], tmp_path: Path) -> Iterator["tuple[subprocess.Popen[bytes], str]"]:
    """The API alone in a process of its own, and its address."""
    (tmp_path / "data").mkdir()
    migrate(f"sqlite:///{tmp_path / 'data' / 'r2f.db'}")
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--no-worker", "--port", "0"], env=environment, stdout=out, stderr=out
        )
    try:
        until = time.monotonic() + 30
        while not (found := re.search(r"Listening on (http://\S+)", log.read_text())):
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield process, found[1]
    finally:
        process.kill()
        process.wait()


def test_the_command_line_starts_without_what_is_slow_to_import():
    script = "import sys, app.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"torch", "fastapi", "sqlalchemy", "celery", "uvicorn"} & set(done.stdout.split()) == set()


def test_help_names_every_command():
    said = CliRunner().invoke(app, ["--help"]).output
    for command in (
        "serve",
        "worker",
        "migrate",
        "demo",
        "submit",
        "watch",
        "list",
        "report",
        "adapter",
        "keys",
        "models",
    ):
        assert command in said


@pytest.mark.parametrize(
    "command",
    [["migrate"], ["serve", "--port", "0"], ["serve", "--no-worker", "--port", "0"], ["worker"], ["worker", "--check"],
     ["demo"], ["demo-people"]],
    ids=" ".join,
)  # fmt: skip
def test_a_data_folder_that_cannot_be_used_is_one_clear_line(environment: dict[str, str], command: list[str]):
    done = r2f(environment | {"R2F_DATA_DIR": "/proc/x"}, *command)
    assert done.returncode == 2
    assert done.stderr == "The data folder /proc/x (R2F_DATA_DIR) cannot be used: No such file or directory.\n"
    assert done.stdout == ""


def test_a_data_folder_that_is_a_file_is_refused(environment: dict[str, str], tmp_path: Path):
    (tmp_path / "data").write_text("not a folder")
    done = r2f(environment, "migrate")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_an_unknown_model_is_named(environment: dict[str, str]):
    assert r2f(environment, "migrate").returncode == 0
    done = r2f(environment, "models", "prepare", "no-such-model")
    assert done.returncode == 1
    assert "no-such-model" in done.stderr


def test_the_packaged_decoder_shows_its_card(environment: dict[str, str]):
    done = r2f(environment, "decoder", "show")
    assert done.returncode == 0
    assert '"sketch_rank": 8' in done.stdout


def test_a_decoders_card_is_one_line_of_json_for_programs(environment: dict[str, str]):
    done = r2f(environment, "decoder", "show", "--json")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert json.loads(done.stdout) == json.loads(r2f(environment, "decoder", "show").stdout)


def test_an_unknown_decoder_is_answered_with_the_known_ones(environment: dict[str, str]):
    done = r2f(environment, "decoder", "show", "no-such-decoder")
    assert done.returncode == 1
    assert "spectral-r8" in done.stderr


def test_a_setting_that_cannot_be_used_is_named_and_its_value_is_not_repeated(environment: dict[str, str]):
    done = r2f({**environment, "R2F_MASTER_KEY": "far-too-short"}, "migrate")
    assert done.returncode == 2
    assert "R2F_MASTER_KEY" in done.stderr
    assert "far-too-short" not in done.stderr


def test_a_database_that_does_not_answer_is_named_without_its_password(environment: dict[str, str]):
    url = "postgresql+psycopg://r2f:hunter2@127.0.0.1:9/r2f"  # pragma: allowlist secret
    key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    done = r2f({**environment, "R2F_DATABASE_URL": url, "R2F_MASTER_KEY": key}, "migrate")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("R2F_DATABASE_URL", "postgresql+psycopg://r2f:hunter2@[::1/r2f"),  # pragma: allowlist secret
        ("R2F_DATABASE_URL", "postgresql+psycopg://r2f:hunter2@h:port/r2f"),  # pragma: allowlist secret
        ("R2F_BROKER_URL", "redis://:hunter2@[::1"),  # pragma: allowlist secret
        ("R2F_BROKER_URL", "redis://:hunter2@h:99999/0"),  # pragma: allowlist secret
        ("R2F_BROKER_URL", "redis://:hunter2@h:6379/name"),  # pragma: allowlist secret
    ],
)
def test_an_address_that_is_malformed_is_exit_code_2_without_its_password(
    environment: dict[str, str], name: str, value: str
):
    key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    done = r2f({**environment, name: value, "R2F_MASTER_KEY": key}, "serve", "--no-worker", "--port", "0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 2), done.stderr
    assert name in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_an_api_that_cannot_start_does_not_end_as_one_whose_port_is_in_use():
    @asynccontextmanager
    async def broken(_app: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("a part is missing")
        yield

    with pytest.raises(CommandFailed, match="could not start"):
        Server(FastAPI(lifespan=broken)).run(sockets=[])


def test_an_address_that_others_reach_is_refused_without_authentication(environment: dict[str, str]):
    done = r2f({**environment, "R2F_AUTHENTICATION": "off"}, "serve", "--no-worker", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "R2F_AUTHENTICATION=auto" in done.stderr
    assert "r2f keys create" in done.stderr


def test_a_port_in_use_has_its_own_exit_code(environment: dict[str, str]):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = r2f(environment, "serve", "--port", str(other.getsockname()[1]))
    assert done.returncode == 3
    assert "in use" in done.stderr


def test_the_api_answers_and_ends_with_130_when_interrupted(serving: "tuple[subprocess.Popen[bytes], str]"):
    process, address = serving
    assert httpx.get(f"{address}/readyz", timeout=10).json()["status"] == "ready"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130


def test_a_request_to_end_stops_the_api_with_143(serving: "tuple[subprocess.Popen[bytes], str]"):
    process, _ = serving
    process.terminate()
    assert process.wait(20) == 143


def test_a_service_whose_worker_cannot_start_gives_up_and_leaves_nothing_running(environment: dict[str, str]):
    broken = {**environment, "R2F_MODEL": "no-such-model"}
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--restarts", "0"],
        env=broken,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 6, said
    assert "dies again and again" in said
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_no_worker_of_this_machine_is_unhealthy(environment: dict[str, str]):
    assert r2f(environment, "migrate").returncode == 0
    done = r2f(environment, "worker", "--check")
    assert done.returncode == 4
    assert "No worker" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--prompt", "Who?"], ["--answer", "Nobody"], ["--text", "A b c."], ["--prompt", "a", "--answer", "b", "--all"]],
)
def test_a_demo_of_half_a_fact_starts_nothing(environment: dict[str, str], arguments: list[str]):
    done = r2f(environment, "demo", *arguments)
    assert done.returncode == 2
    assert not Path(environment["R2F_DATA_DIR"]).exists()


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
