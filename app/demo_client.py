"""The demo's side of the HTTP conversation: what any caller of the service would do."""

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.report import Report
from app.supervisor import CommandFailed, ServerUnreachable, WorkerNotReady

POLL_SECONDS = 0.2
READY_POLL_SECONDS = 0.5
FINISHED = frozenset({"completed", "needs_review", "failed", "canceled"})


class RequestRefused(CommandFailed):
    """The service refused the request."""


@dataclass(frozen=True)
class Progress:
    """A deletion as it stood at one moment."""

    id: str
    status: str
    stage: str | None
    fraction: float
    outcome: str | None
    error: str | None


@dataclass(frozen=True)
class Preparation:
    """What the worker was doing at one moment."""

    state: str
    detail: str | None


class Client:
    """A caller of one service; `alive` raises when the service behind the address has died."""

    def __init__(self, http: httpx.Client, alive: Callable[[], None]) -> None:
        self._http = http
        self._alive = alive

    def preparation(self, model: str, patience: float) -> Iterator[Preparation]:
        """What the model's worker is doing, until it is ready; one that lives and loads may take its time.

        Raises:
            WorkerNotReady: for so many seconds there was no living worker.
        """
        until = time.monotonic() + patience
        while time.monotonic() < until:
            self._alive()
            now = self._prepared(model)
            yield now
            if now.state in {"ready", "busy"}:
                return
            if now.state != "starting":
                until = time.monotonic() + patience
            time.sleep(READY_POLL_SECONDS)
        raise WorkerNotReady(f"There was no living worker for {model} for {patience:.0f} s.")

    def _prepared(self, model: str) -> Preparation:
        """A ready one of the model's workers, else any; the API itself may still be starting."""
        try:
            answer = self._http.get("/readyz")
        except httpx.TransportError:
            return Preparation("starting", None)
        workers = answer.json().get("workers", []) if answer.headers.get("content-type", "").endswith("json") else []
        mine = [worker for worker in workers if worker["model"] == model and worker["state"] != "stopped"]
        if not mine:
            return Preparation("starting", None)
        first = max(mine, key=lambda worker: worker["state"] in {"ready", "busy"})
        return Preparation(first["state"], first["detail"])

    def source(self, model: str) -> str:
        """Where the weights of a registered model come from."""
        items = self._ask("GET", "/models").json()["items"]
        return str(next(item["source"] for item in items if item["id"] == model))

    def submit(self, body: dict[str, Any]) -> str:
        """Post a deletion and return its id."""
        return str(self._ask("POST", "/deletions", json=body).json()["id"])

    def follow(self, deletion: str) -> Iterator[Progress]:
        """How the deletion stands, again and again until it has finished."""
        while True:
            self._alive()
            body = self._ask("GET", f"/deletions/{deletion}").json()
            error = body.get("error")
            yield Progress(
                id=deletion,
                status=body["status"],
                stage=body["stage"],
                fraction=body["progress"],
                outcome=body["outcome"],
                error=f"{error['code']}: {error['message']}" if error else None,
            )
            if body["status"] in FINISHED:
                return
            time.sleep(POLL_SECONDS)

    def report(self, deletion: str) -> Report:
        """The evaluation."""
        return Report.model_validate_json(self._ask("GET", f"/deletions/{deletion}/report").content)

    def approve(self, deletion: str) -> None:
        """Publish an adapter that missed a threshold."""
        self._ask("POST", f"/deletions/{deletion}/approve")

    def adapter(self, deletion: str, folder: Path) -> list[str]:
        """Download the adapter, unpack it and return the names of its files."""
        archive = self._ask("GET", f"/deletions/{deletion}/adapter").content
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            files.extractall(folder)
            return sorted(files.namelist())

    def _ask(self, method: str, path: str, json: Any = None) -> httpx.Response:
        """One exchange.

        Raises:
            RequestRefused: the service answered with a problem.
            ServerUnreachable: it did not answer.
        """
        try:
            answer = self._http.request(method, path, json=json)
        except httpx.TransportError as error:
            self._alive()
            raise ServerUnreachable(f"The server at {self._http.base_url} does not answer.") from error
        if answer.is_error:
            raise RequestRefused(_explain(answer))
        return answer


def _explain(answer: httpx.Response) -> str:
    """A problem in one or more lines: title, detail and the fields that are wrong."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return f"The service answered {answer.status_code} {answer.reason_phrase}."
    problem = answer.json()
    lines = [str(problem["title"])]
    if problem.get("detail") and problem["detail"] != problem["title"]:
        lines.append(str(problem["detail"]))
    lines += [f"  {wrong.get('field')}: {wrong.get('detail')}" for wrong in problem.get("errors") or []]
    return "\n".join(lines)
