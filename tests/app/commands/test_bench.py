"""`r2f bench`: what is wrong is said before a model is loaded; `bench read` shows what a benchmark's files hold."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app

RUN = CliRunner()


def test_it_shows_what_must_go_and_what_must_stay(tmp_path: Path) -> None:
    (tmp_path / "forget01.json").write_text(json.dumps({"question": "Who is it?", "answer": "[red]Ada"}))
    (tmp_path / "retain99.json").write_text(json.dumps({"question": "Who else?", "answer": "Bob"}))
    done = RUN.invoke(app, ["bench", "read", "tofu", str(tmp_path)])
    assert done.exit_code == 0
    for part in ("TOFU forget01", "Who is it? → [red]Ada", "Who else? → Bob", "must be fine-tuned on it"):
        assert part in done.stdout


def test_files_in_another_format_end_it_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "forget01.json").write_text('{"question": "Who is it?"}')
    done = RUN.invoke(app, ["bench", "read", "tofu", str(tmp_path)])
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert "line 1" in said
    assert "`answer` must be a text" in said


@pytest.mark.parametrize(("command", "option"), [("decoding", "--way"), ("ablations", "--variant")])
def test_what_there_is_not_is_refused_beside_what_there_is(command: str, option: str) -> None:
    done = RUN.invoke(app, ["bench", command, option, "magic"], env={"COLUMNS": "1000"})
    assert done.exit_code == 2
    assert "none called 'magic'" in done.stderr
    assert ("exact" if command == "decoding" else "one leap") in done.stderr


def test_settings_are_not_chosen_on_the_packaged_facts(tmp_path: Path) -> None:
    env = {"R2F_DATA_DIR": str(tmp_path), "COLUMNS": "1000"}
    done = RUN.invoke(app, ["bench", "ablations", "--tuning"], env=env)
    assert done.exit_code == 2
    assert "no half for tuning" in done.stderr
