"""`r2f submit`: what is sent, what is printed, and what is not sent."""

import json
import re
from pathlib import Path

import pytest

from app.client import Client
from tests.app.commands.conftest import FACT, NOBODY, PARIS, R2F
from tests.app.conftest import Live


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


def test_a_request_whose_fate_is_unknown_says_how_to_find_out(r2f: R2F):
    done = r2f("submit", *FACT, "--server", NOBODY)
    assert done.exit_code == 5
    assert "--idempotency-key" in done.stderr
    assert "Paris" not in done.stderr
