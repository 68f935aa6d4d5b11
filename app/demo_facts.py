"""What the demo makes a model forget: the packaged facts, or a file of others."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from app.client import DeletionRequest
from app.report import Report, ViewEvidence
from app.supervisor import CommandFailed


class BadFacts(CommandFailed):
    """The file of facts does not have the documented form."""

    code = 2


class Fact(BaseModel):
    """Something to forget: a title and what the request says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    targets: list[dict[str, Any]]
    retain: list[dict[str, Any]] = []
    options: dict[str, Any] = {}
    thresholds: dict[str, Any] = {}

    def body(self, model: str) -> DeletionRequest:
        """The request; only what the fact sets goes into it."""
        return cast(DeletionRequest, {"model": model, **self.model_dump(exclude={"title"}, exclude_defaults=True)})

    def questions(self, report: Report) -> list[dict[str, Any]]:
        """What to ask the fresh process: the fact, other phrasings of it, and things that must have stayed."""
        chat = all("prompt" in target for target in self.targets)
        asked = [target["prompt"] for target in self.targets if "prompt" in target]
        evidence = report.evidence
        held_out: Sequence[ViewEvidence] = evidence.held_out_views if evidence else []
        other = [view.prompt for view in held_out if view.known and view.prompt not in asked][: 3 - min(len(asked), 2)]
        kept = [view.prompt for view in (*evidence.neighbours[:2], *evidence.generic[:1])] if evidence else []
        about = [{"text": text, "chat": chat} for text in [*asked, *other]]
        return about + [{"text": text, "chat": True} for text in kept]


def facts_from(path: Path | None) -> list[Fact]:
    """The facts of a JSON file; the packaged ones without a path.

    Raises:
        BadFacts: the file cannot be read, or is no list of facts.
    """
    source = path if path is not None else files("app") / "demo_facts.json"
    try:
        return TypeAdapter(list[Fact]).validate_json(source.read_bytes())
    except OSError as error:
        raise BadFacts(f"{source} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise BadFacts(f"{source}: {'/'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}.") from error


def chosen(
    *,
    prompt: str | None,
    answer: str | None,
    aliases: str | None,
    text: str | None,
    span: str | None,
    path: Path | None,
    every: bool,
) -> list[Fact]:
    """The facts that a caller of the demo asked for; the first packaged one when nothing was said.

    Raises:
        BadFacts: a question without an answer, a passage without a span, or more than one kind of wish.
    """
    wishes = [prompt or answer or aliases, text or span, path, every]
    if sum(map(bool, wishes)) > 1:
        raise BadFacts("Give one of: a prompt with its answer, a text with its span, a file of facts, or --all.")
    if text or span:
        if not (text and span):
            raise BadFacts("A passage needs both a text and the span of it to forget.")
        return [Fact(title="a passage", targets=[{"text": text, "spans": [span]}])]
    if prompt or answer or aliases:
        if not (prompt and answer):
            raise BadFacts("A fact needs both a prompt and the answer to forget.")
        target: dict[str, Any] = {"prompt": prompt, "answer": answer}
        if aliases:
            target["aliases"] = [alias.strip() for alias in aliases.split(",") if alias.strip()]
        return [Fact(title=prompt, targets=[target])]
    facts = facts_from(path)
    return facts if path or every else facts[:1]
