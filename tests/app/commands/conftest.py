"""Commands against a running service."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.client import Client, DeletionRequest
from app.report import VerdictKind
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
