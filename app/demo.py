"""The demo: a real service on a free port, a fact forgotten over HTTP, and its adapter asked by a stranger."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app import demo_show as show
from app.demo_client import Client, Preparation
from app.demo_client import Progress as Standing
from app.demo_facts import Fact
from app.demo_service import Service, ask, base_folder, claimed
from app.report import Report, VerdictKind
from app.settings import Settings
from app.supervisor import CommandFailed

START_SECONDS = 180.0  # until the worker shows itself; how long it then prepares is up to the machine


class DeletionUnfinished(CommandFailed):
    """The deletion ended without a report."""


def run(facts: Sequence[Fact], settings: Settings, console: Console) -> None:
    """Forget each fact in turn, and show what came of it; whatever was started is stopped at the end."""
    folder = settings.data_dir / "demo"
    with claimed(folder), Service(settings, folder) as service:
        with httpx.Client(base_url=service.url, timeout=30.0) as http:
            demo = Demo(Client(http, service.alive), settings, folder, console)
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
    stranger: Callable[[str, Path, Sequence[dict[str, Any]]], dict[str, list[str]]] = ask

    def prepare(self) -> None:
        """Wait for the worker, and show what it is doing."""
        began, last = time.monotonic(), ""
        with self.console.status("starting the service …") as status:
            for now in self.client.preparation(self.settings.model, START_SECONDS):
                text = preparing(now)
                status.update(f"{text} …")
                if text != last and not self.console.is_terminal:
                    self.console.print(f"{text} …")
                last = text
        self.console.print(f"The service and its worker are ready ({time.monotonic() - began:.1f} s).")

    def forget(self, fact: Fact, number: int = 1) -> tuple[Report, float]:
        """One fact, from the request to the stranger's replies; returns the report and the seconds until it came."""
        self.console.rule(show.clipped(fact.title), align="left")
        body = fact.body(self.settings.model)
        self.console.print("POST /deletions", show.clipped(json.dumps(body["targets"], ensure_ascii=False)))
        began = time.perf_counter()
        deletion = self.client.submit(body)
        last = self._watch(deletion)
        if last.status not in {"completed", "needs_review"}:
            raise DeletionUnfinished(f"The deletion ended as {last.status}. {last.error or ''}".strip())
        report = self.client.report(deletion)
        seconds = time.perf_counter() - began
        self.console.print(show.shown(report))
        self.console.print(f"POST to finished report: {seconds:.1f} s")
        folder = self.folder / f"fact-{number}"
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
        if report.figures.verdict.kind is not VerdictKind.NOT_KNOWN:
            self._publish(last)
            self._try(fact, report, deletion, folder / "adapter")
        return report, seconds

    def _watch(self, deletion: str) -> Standing:
        """Show the deletion's progress until it has finished."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        last: Standing | None = None
        with Progress(*columns, TimeElapsedColumn(), console=self.console) as bar:
            task = bar.add_task("queued", total=1.0)
            for now in self.client.follow(deletion):
                label = show.stage_label(now.stage, now.status)
                if not self.console.is_terminal and (last is None or now.stage != last.stage):
                    self.console.print(f"{now.fraction:4.0%} {label}")
                bar.update(task, completed=now.fraction, description=label)
                last = now
        if last is None:
            raise DeletionUnfinished
        return last

    def _publish(self, last: Standing) -> None:
        """Approve an adapter that is in review, and say so: without that it cannot be downloaded."""
        if last.status == "needs_review":
            self.console.print(
                "[yellow]The adapter is in review and would not be published. For this demo alone it is approved now "
                "(POST …/approve), so that it can be downloaded and tried.[/]"
            )
            self.client.approve(last.id)

    def _try(self, fact: Fact, report: Report, deletion: str, folder: Path) -> None:
        """Download the adapter and ask it in a fresh process."""
        names = self.client.adapter(deletion, folder)
        self.console.print(f"Downloaded and unpacked to {folder}: {', '.join(names)}", highlight=False)
        source, questions = self.client.source(self.settings.model), fact.questions(report)
        with self.console.status("asking a fresh process with plain transformers and peft …"):
            replies = self.stranger(base_folder(self.settings, source), folder, questions)
        texts = [question["text"] for question in questions]
        self.console.print(show.asked_again(texts, replies["base"], replies["adapted"]))


def preparing(now: Preparation) -> str:
    """What the worker is doing, for people."""
    if now.state == "loading":
        return f"the worker is {now.detail or 'starting'}"
    return "starting the service" if now.state == "starting" else "ready"
