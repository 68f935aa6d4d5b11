"""`r2f bench read` shows what a benchmark's files hold, and names the file that is not in its format."""

import json
from pathlib import Path

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
