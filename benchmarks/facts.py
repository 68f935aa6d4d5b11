"""The facts of the benchmarks: a half that is reported, and a half that settings are chosen on."""

import json
from itertools import zip_longest
from pathlib import Path

from app.demo_facts import chosen
from app.schemas import DeletionRequest, PromptTarget


class BadData(ValueError):
    """The data folder does not hold what the benchmark reads."""


def facts(model: str, data: Path | None, *, tuning: bool = False) -> list[DeletionRequest]:
    """Facts of the reported half, or of the half for tuning, one of each answer group in turn.

    Raises:
        BadData: the file is missing, or a line of it is not a fact; or tuning is asked for without one.
    """
    if data is None:
        if tuning:
            raise BadData("The packaged facts have no half for tuning: give a folder with known_1000 (--data).")
        packaged = chosen(prompt=None, answer=None, aliases=None, text=None, span=None, path=None, every=True)
        return [DeletionRequest.model_validate({"model": model, "targets": fact.targets}) for fact in packaged]
    path = data / "known_1000" / "questions.jsonl"
    if not path.is_file():
        raise BadData(f"{path} is missing: give the folder that holds known_1000 with --data.")
    groups: dict[str, list[DeletionRequest]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n")):
        try:
            row = json.loads(line)
            target, group = PromptTarget(prompt=row["question"], answer=row["answer"]), row["answer_group"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadData(f"{path}:{number + 1} is not a fact: question, answer and answer_group wanted.") from error
        if number % 2 == (0 if tuning else 1):
            groups.setdefault(group, []).append(DeletionRequest(model=model, targets=[target]))
    return [request for turn in zip_longest(*groups.values()) for request in turn if request is not None]
