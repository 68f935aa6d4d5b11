"""`make check` finds what has the form of a secret, and leaves digests and names of variables alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def found_in(path: Path) -> bool:
    """What the Makefile's own search says of a file."""
    text = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    program, *options = re.findall(r"^SECRETS := (.*)$", text, re.M)[0].split()
    command = [str(Path(sys.executable).with_name(program)), *options, str(path)]
    return subprocess.run(command, cwd=path.parent, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize(
    "parts",
    [
        ("aws = 'AKIA", "2E0A8F3B244C9986'"),
        ("-----BEGIN RSA ", "PRIVATE KEY-----"),
        ("url = 'https://somebody:", "something@example.com'"),
    ],
)
def test_a_secret_is_found(tmp_path: Path, parts: tuple[str, str]):
    (tmp_path / "file.py").write_text("".join(parts))
    assert found_in(tmp_path / "file.py")


def test_a_digest_and_the_name_of_a_key_are_no_secrets(tmp_path: Path):
    (tmp_path / "file.py").write_text(f"digest = '{'0123456789abcdef' * 4}'\nmaster_key = environ['R2F_MASTER_KEY']\n")
    assert not found_in(tmp_path / "file.py")
