"""The demo: a real service on a free port, a fact forgotten over HTTP, and its adapter asked by a stranger."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from app import demo_show as show
from app import live_bar
from app.client import Client, Deletion
from app.client.downloads import unpack
from app.demo_client import PATIENCE_SECONDS, Preparation, guarded, preparation
from app.demo_facts import Fact
from app.demo_service import Service, ask, base_folder, claimed
from app.report import Report, VerdictKind
from app.report_tables import clipped, report_tables
from app.settings import Settings
from app.supervisor import CommandFailed

START_SECONDS = 180.0  # until the worker shows itself; how long it then prepares is up to the machine
POLL_SECONDS = 0.2


class DeletionUnfinished(CommandFailed):
    """The deletion ended without a report."""


def run(facts: Sequence[Fact], settings: Settings, console: Console) -> None:
    """Forget each fact in turn, and show what came of it; whatever was started is stopped at the end."""
    folder = settings.data_dir / "demo"
    with claimed(folder), Service(settings, folder) as service:
        with Client(service.url, patience=PATIENCE_SECONDS) as client, guarded(service.alive):
            demo = Demo(client, settings, folder, console, service.alive)
            demo.prepare()
            done = [(fact.title, *demo.forget(fact, number)) for number, fact in enumerate(facts, start=1)]
        if len(done) > 1:
            console.print(show.summary(done))
    console.print("The service and its worker have been stopped.")


@dataclass(frozen=True)
class Demo:
    """One caller of one service, who shows everything on a console."""

    client: Client
    settings: Settings
    folder: Path
    console: Console
    alive: Callable[[], None]  # raises when the service has died
    stranger: Callable[[str, Path, Sequence[dict[str, Any]]], dict[str, list[str]]] = ask

    def prepare(self) -> None:
        """Wait for the worker, and show what it is doing."""
        began, last = time.monotonic(), ""
        with self.console.status("starting the service …") as status:
            for now in preparation(self.client, self.settings.model, START_SECONDS, self.alive):
                text = preparing(now)
                status.update(f"{text} …")
                if text != last and not self.console.is_terminal:
                    self.console.print(f"{text} …")
                last = text
        self.console.print(f"The service and its worker are ready ({time.monotonic() - began:.1f} s).")

    def forget(self, fact: Fact, number: int = 1) -> tuple[Report, float]:
        """One fact, from the request to the stranger's replies; returns the report and the seconds until it came."""
        self.console.rule(clipped(fact.title), align="left")
        body = fact.body(self.settings.model)
        self.console.print("POST /deletions", clipped(json.dumps(body["targets"], ensure_ascii=False)))
        began = time.perf_counter()
        deletion = self.client.submit(body).id
        last = live_bar.shown(self.client.watch(deletion, poll=POLL_SECONDS), self.console)
        if last.status not in {"completed", "needs_review"}:
            why = f"{last.error.code}: {last.error.message}" if last.error else ""
            raise DeletionUnfinished(f"The deletion ended as {last.status}. {why}".strip())
        report = self.client.report(deletion)
        seconds = time.perf_counter() - began
        self.console.print(report_tables(report))
        self.console.print(f"POST to finished report: {seconds:.1f} s")
        folder = self.folder / f"fact-{number}"
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
        if report.figures.verdict.kind is not VerdictKind.NOT_KNOWN:
            self._publish(last)
            self._try(fact, report, deletion, folder / "adapter")
        return report, seconds

    def _publish(self, last: Deletion) -> None:
        """Approve an adapter that is in review, and say so: without that it cannot be downloaded."""
        if last.status == "needs_review":
            self.console.print(
                "[yellow]The adapter is in review and would not be published. For this demo alone it is approved now "
                "(POST …/approve), so that it can be downloaded and tried.[/]"
            )
            self.client.approve(last.id)

    def _try(self, fact: Fact, report: Report, deletion: str, folder: Path) -> None:
        """Download the adapter and ask it in a fresh process."""
        names = unpack(self.client.download(deletion, folder.with_suffix(".zip")).path, folder)
        self.console.print(f"Downloaded and unpacked to {folder}: {', '.join(names)}", highlight=False)
        source = next(model.source for model in self.client.models() if model.id == self.settings.model)
        questions = fact.questions(report)
        with self.console.status("asking a fresh process with plain transformers and peft …"):
            replies = self.stranger(base_folder(self.settings, source), folder, questions)
        texts = [question["text"] for question in questions]
        self.console.print(show.asked_again(texts, replies["base"], replies["adapted"]))


def preparing(now: Preparation) -> str:
    """What the worker is doing, for people."""
    if now.state == "loading":
        return f"the worker is {now.detail or 'starting'}"
    return "starting the service" if now.state == "starting" else "ready"
