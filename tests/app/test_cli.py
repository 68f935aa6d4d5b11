"""The command line: it starts fast, says clearly what is wrong, and leaves nothing running."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from app.cli import app
from app.database import migrate
from app.server import Server
from app.supervisor import CommandFailed
from tests.app.processes import COMMAND, r2f


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
