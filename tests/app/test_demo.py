"""The demo forgets over HTTP, shows what came of it, says when it approves, and cleans up behind itself."""

import io
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from rich.console import Console

from app import demo_show as show
from app.client import Client
from app.demo import DeletionUnfinished, Demo, preparing
from app.demo_client import Preparation, guarded, preparation
from app.demo_facts import BadFacts, Fact, chosen, facts_from
from app.demo_service import DemoBusy, Service, ServiceDied, claimed, service_environment
from app.main import create_app
from app.report import VerdictKind
from app.schemas import DeletionRequest
from app.settings import Settings
from app.supervisor import ServerUnreachable, WorkerNotReady, listen
from tests.conftest import FakePipeline, HopelessError, report_of, worker_on

FRANCE = Fact(title="capital of France", targets=[{"prompt": "What is the capital of France?", "answer": "Paris"}])


@contextmanager
def service(settings: Settings, pipeline: FakePipeline) -> Iterator[str]:
    """The real API on a real port, with a worker whose pipeline is told what to find."""
    app = create_app(settings)
    bound = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    threads = [threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)]
    threads[0].start()
    while not server.started:
        time.sleep(0.01)
    bench, stop = worker_on(app.state.services, pipeline), threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            bench.runner.work()

    threads.append(threading.Thread(target=work, daemon=True))
    threads[1].start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        stop.set()
        server.should_exit = True
        for thread in threads:
            thread.join(10)
        bound.close()


def echo(model: str, adapter: Path, questions: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """A stranger who finds the adapter's files in place."""
    assert (adapter / "adapter_config.json").is_file()
    return {"base": ["Paris it is."] * len(questions), "adapted": ["I could not say."] * len(questions)}


def forget(settings: Settings, kind: VerdictKind, folder: Path) -> str:
    """What the demo shows for one fact with that verdict."""
    shown = Console(file=io.StringIO(), width=160)
    with service(settings, FakePipeline(kind=kind)) as url, Client(url) as client:
        demo = Demo(client, settings, folder, shown, alive=lambda: None, stranger=echo)
        demo.prepare()
        report, seconds = demo.forget(FRANCE)
    assert report == report_of(kind)
    assert seconds > 0
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_a_forgotten_fact_is_shown_before_and_after_and_its_adapter_is_tried(settings: Settings, tmp_path: Path):
    text = forget(settings, VerdictKind.PASSED, tmp_path)
    for part in ("What is the capital of France?", "Verdict: forgotten", "POST to finished report", "I could not say."):
        assert part in text
    assert "approved" not in text
    assert json.loads((tmp_path / "fact-1" / "report.json").read_text())["figures"]["verdict"]["kind"] == "passed"


@pytest.mark.parametrize("kind", [VerdictKind.MISSED, VerdictKind.INSUFFICIENT_EVIDENCE])
def test_an_adapter_in_review_is_shown_all_the_same_and_its_approval_is_said(
    settings: Settings, tmp_path: Path, kind: VerdictKind
):
    text = forget(settings, kind, tmp_path)
    assert "Verdict: needs review" in text
    assert "For this demo alone it is approved" in text
    assert "I could not say." in text


def test_a_fact_that_is_not_known_ends_without_an_adapter(settings: Settings, tmp_path: Path):
    text = forget(settings, VerdictKind.NOT_KNOWN, tmp_path)
    assert "there is nothing to forget" in text
    assert "Lyon, I think." in text
    assert not (tmp_path / "fact-1" / "adapter").exists()


def test_a_failed_deletion_says_why(settings: Settings, tmp_path: Path):
    def fail(_stage: object) -> None:
        raise HopelessError("Too long.")

    shown = Console(file=io.StringIO())
    with service(settings, FakePipeline(meanwhile=fail)) as url, Client(url) as client:
        demo = Demo(client, settings, tmp_path, shown, alive=lambda: None, stranger=echo)
        with pytest.raises(DeletionUnfinished, match="prompt_too_long"):
            demo.forget(FRANCE)


def test_a_service_that_has_died_is_the_reason_that_is_told():
    def died() -> None:
        raise ServiceDied("its log ends with this")

    with Client("http://127.0.0.1:9", patience=0) as client:
        with pytest.raises(ServiceDied), guarded(died):
            client.models()
        with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1:9"), guarded(lambda: None):
            client.models()


def test_waiting_for_a_worker_ends(settings: Settings):
    with Client("http://127.0.0.1:9") as client, pytest.raises(WorkerNotReady):
        list(preparation(client, settings.model, 0.1, lambda: None))


def test_what_the_worker_is_doing_is_shown():
    assert preparing(Preparation("loading", "computing the curvature: 40%")).endswith("computing the curvature: 40%")


def test_two_demos_cannot_share_a_folder_and_the_records_of_one_do_not_outlive_it(tmp_path: Path):
    folder = tmp_path / "demo"
    with claimed(folder):
        (folder / "service").mkdir()
        with pytest.raises(DemoBusy), claimed(folder):
            pass
    assert not (folder / "service").exists()
    with claimed(folder):
        pass


def test_a_demo_never_touches_a_service_that_the_environment_points_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("R2F_DATABASE_URL", "sqlite:////somewhere/else.db")
    monkeypatch.setenv("r2f_broker_url", "redis://elsewhere")
    monkeypatch.setenv("R2F_TORCH_THREADS", "2")
    environment = service_environment(Settings(data_dir=tmp_path), tmp_path / "demo")
    assert "R2F_DATABASE_URL" not in environment
    assert "r2f_broker_url" not in environment
    assert environment["R2F_TORCH_THREADS"] == "2"
    assert environment["R2F_DATA_DIR"] == str(tmp_path / "demo")


def test_a_service_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("R2F_MODEL", "no-such-model")
    with Service(Settings(data_dir=tmp_path), tmp_path) as started, Client(started.url) as client:
        waiting = preparation(client, "no-such-model", 60.0, started.alive)
        with pytest.raises(ServiceDied, match="dies again and again"):
            list(waiting)


def test_leaving_the_demo_stops_the_service(tmp_path: Path):
    with Service(Settings(data_dir=tmp_path), tmp_path) as started:
        started.alive()
        group = started._process.pid if started._process else 0
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_the_packaged_facts_can_be_sent_as_they_are():
    facts = facts_from(None)
    assert facts[0] == FRANCE
    assert len(facts) >= 6
    for fact in facts:
        DeletionRequest.model_validate_json(json.dumps(fact.body("smollm2-135m-instruct")))


def test_a_question_of_ones_own_keeps_its_quotes_dollars_and_spaces():
    prompt = 'Who\'s $HOME "the" `king`?'
    fact = chosen(prompt=prompt, answer="It's me", aliases="me, myself", text=None, span=None, path=None, every=False)
    assert fact[0].targets == [{"prompt": prompt, "answer": "It's me", "aliases": ["me", "myself"]}]


def test_a_file_that_holds_no_facts_is_named(tmp_path: Path):
    file = tmp_path / "facts.json"
    file.write_text('[{"title": "no target"}]')
    with pytest.raises(BadFacts, match="targets"):
        facts_from(file)
    with pytest.raises(BadFacts, match="cannot be read"):
        facts_from(tmp_path / "none.json")


def test_replies_are_never_read_as_markup():
    said = Console(file=io.StringIO(), width=200)
    said.print(show.asked_again(["[red]q[/red]"], ["[bold]a"], ["[/]b"]))
    text = said.file.getvalue()  # type: ignore[attr-defined]
    for part in ("[red]q[/red]", "[bold]a", "[/]b"):
        assert part in text
