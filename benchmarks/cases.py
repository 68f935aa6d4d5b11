"""What the benchmarks of single facts share: the facts, each prepared once for all methods, and what is measured."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import torch

from app.demo_facts import chosen
from app.schemas import AboutTarget, DeletionRequest, PassageTarget, PromptTarget
from worker import pipeline
from worker.loading import Loaded
from worker.r2f.adaptation import Adaptation, Update
from worker.r2f.config import Config
from worker.r2f.evaluate import Exam, set_exam, sit_exam
from worker.r2f.examples import Example
from worker.r2f.forward import span_logits
from worker.r2f.identity import identity
from worker.r2f.knowledge import Knowledge, probe
from worker.r2f.quantisation import QUANTISERS, quantised
from worker.r2f.relearning import Attack, relearn
from worker.r2f.text import Prompt, holds
from worker.r2f.views import View
from worker.unlearning import Protection

SAMPLES = 4  # sampled replies to each view
TOKENS = 64  # new tokens in which an answer counts as given
ROUNDINGS = ("rtn4", "q4_1")
ATTACK = Attack()
NOT_KNOWN = "not_known"
Row = dict[str, object]


class BadData(ValueError):
    """The data folder does not hold what the benchmark reads."""


@dataclass(frozen=True)
class Case:
    """One fact under one seed, prepared once for all methods."""

    config: Config
    known: Knowledge
    kept: Protection
    exam: Exam
    views: tuple[View, ...]  # held-out ones that the base model answers
    rounded: Mapping[str, Sequence[bool]]  # which of them the rounded base model answers, by rounding


def facts(model: str, data: Path | None, *, tuning: bool = False) -> list[DeletionRequest]:
    """Facts of the reported half, or of the half for tuning, one of each answer group in turn.

    Raises:
        BadData: the file is missing, or a line of it is not a fact.
    """
    if data is None:
        packaged = chosen(prompt=None, answer=None, aliases=None, text=None, span=None, path=None, every=True)
        return [DeletionRequest.model_validate({"model": model, "targets": fact.targets}) for fact in packaged]
    path = data / "known_1000" / "questions.jsonl"
    if not path.is_file():
        raise BadData(f"{path} is missing: give the folder that holds known_1000 with --data.")
    groups: dict[str, list[DeletionRequest]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        try:
            row = json.loads(line)
            target, group = PromptTarget(prompt=row["question"], answer=row["answer"]), row["answer_group"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadData(f"{path}:{number + 1} is not a fact: question, answer and answer_group wanted.") from error
        if number % 2 == (0 if tuning else 1):
            groups.setdefault(group, []).append(DeletionRequest(model=model, targets=[target]))
    return [request for turn in zip_longest(*groups.values()) for request in turn if request is not None]


def answered_at_once(loaded: Loaded, requests: Sequence[DeletionRequest]) -> list[int]:
    """The numbers of those whose plain question the base model answers greedily, in their order."""
    asked = [
        (n, target)
        for n, request in enumerate(requests)
        for target in request.targets[:1]
        if isinstance(target, PromptTarget)
    ]
    replies = loaded.lm.replies([Prompt(target.prompt) for _, target in asked], Config().reply_tokens)
    said = {
        n for (n, target), reply in zip(asked, replies, strict=True) if holds(reply, (target.answer, *target.aliases))
    }
    others = set(range(len(requests))) - {n for n, _ in asked}  # passages are not asked for
    return sorted(said | others)


def asked(loaded: Loaded, request: DeletionRequest, seed: int) -> Knowledge:
    """What the base model knows of a fact's views."""
    config = replace(pipeline.config_of(request, loaded), seed=seed, audit=False)
    views = pipeline.propose_views(_targets(request), loaded, config)
    return probe(loaded.lm, views, config, lambda share: None)


def prepare(loaded: Loaded, request: DeletionRequest, seed: int, roundings: Sequence[str]) -> Case | None:
    """A case; None where the base model answers too few held-out views."""
    config = replace(pipeline.config_of(request, loaded), seed=seed, audit=False)
    known = asked(loaded, request, seed)
    if not known.examples:
        return None
    kept = pipeline.protect(_targets(request), [], loaded, config)
    exam = set_exam(loaded.lm, known.held_out, (), kept.held_out, loaded.judge_drift, config.neighbours)
    pairs = zip(exam.held_out, exam.base.held_out, strict=True)
    answered = tuple(view for view, reply in pairs if reply.hit)
    if len(answered) < request.thresholds.held_out_views:
        return None
    rounded = {
        name: which_answered(loaded, answered, quantised(loaded.lm.model, loaded.lm.sites, {}, QUANTISERS[name]))
        for name in roundings
    }
    return Case(config, known, kept, exam, answered, rounded)


def _targets(request: DeletionRequest) -> list[PromptTarget | PassageTarget]:
    return [target for target in request.targets if not isinstance(target, AboutTarget)]


def judged(
    loaded: Loaded, case: Case, update: Update, intervention: Callable[[], AbstractContextManager[object]] = ExitStack
) -> Row:
    """Greedy forgetting and what it costs, with an update in force and whatever is entered beside it."""
    lm = loaded.lm
    with ExitStack() as stack:
        stack.enter_context(intervention())
        stack.enter_context(Adaptation(lm.model, lm.sites)).use(update)
        after = sit_exam(lm, case.exam)
        drift = case.exam.drift
        with torch.no_grad():
            alike = identity(drift.reference, span_logits(lm.model, drift.batch).log_softmax(-1))
    pairs = zip(case.exam.base.held_out, after.held_out, strict=True)
    success = [not now.hit for before, now in pairs if before.hit]
    near = [now.hit for base, now in zip(case.exam.base.neighbours, after.neighbours, strict=True) if base.hit]
    return {
        "success": mean(success),
        "success_worst": float(all(success)),
        "answer_max": max(after.answer, default=None),
        "neighbours": mean(near),
        "kl": after.drift.kl_mean,
        "agreement": after.drift.agreement,
        "similarity": alike.similarity,
    }


def sampled(
    loaded: Loaded, case: Case, update: Update, intervention: Callable[[], AbstractContextManager[object]] = ExitStack
) -> Row:
    """The share of views that no sampled reply answers."""
    with ExitStack() as stack:
        stack.enter_context(intervention())
        stack.enter_context(Adaptation(loaded.lm.model, loaded.lm.sites)).use(update)
        prompts = [view.prompt for view in case.views for _ in range(SAMPLES)]
        said = loaded.lm.samples(prompts, TOKENS, seed=case.config.seed)
    silent = [
        not any(holds(reply, view.answers) for reply in said[n * SAMPLES : (n + 1) * SAMPLES])
        for n, view in enumerate(case.views)
    ]
    return {"success_sampled": mean(silent)}


def rounded(
    loaded: Loaded, case: Case, update: Update, intervention: Callable[[], AbstractContextManager[object]] = ExitStack
) -> Row:
    """Forgetting after the merged weights are rounded, of the views that the rounded base model answers."""
    row: Row = {}
    for name, before in case.rounded.items():
        weights = quantised(loaded.lm.model, loaded.lm.sites, update, QUANTISERS[name])
        said = which_answered(loaded, case.views, weights, intervention())
        row[f"success_{name}"] = mean([not now for base, now in zip(before, said, strict=True) if base])
    return row


def relearned(loaded: Loaded, case: Case, update: Update) -> Row:
    """The share of views that come back when the target's own views, or other facts, are taught."""
    return {
        "rap": attacked(loaded, case.views, update, case.known.examples),
        "benign": attacked(loaded, case.views, update, case.kept.examples),
    }


def attacked(loaded: Loaded, views: Sequence[View], update: Update, examples: Sequence[Example]) -> float | None:
    """The share of views that are answered after fine-tuning on examples."""
    if not examples:
        return None
    again = relearn(loaded.lm, update, examples, ATTACK)
    with Adaptation(loaded.lm.model, loaded.lm.sites) as adaptation:
        adaptation.use(again)
        return mean(which_answered(loaded, views))


def which_answered(loaded: Loaded, views: Sequence[View], *contexts: AbstractContextManager[object]) -> list[bool]:
    """Which views are answered inside some contexts."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        replies = loaded.lm.replies([view.prompt for view in views], TOKENS)
    return [holds(reply, view.answers) for view, reply in zip(views, replies, strict=True)]


def run(
    loaded: Loaded,
    requests: Sequence[DeletionRequest],
    units: Sequence[str],
    measure: Callable[[Case, str], Row],
    *,
    wanted: int,
    seeds: int,
    out: Path,
    progress: Callable[[float], None],
    roundings: Sequence[str] = ROUNDINGS,
) -> list[Row]:
    """Measure every unit on every known fact; what is in the file already is not run again.

    A fact whose plain question, or too few of whose held-out views, the base model answers gets one row `not_known`.

    Returns:
        All rows of the file, with `fact`, `seed` and `method` (the unit) in each.
    """
    rows = read_rows(out)

    def add(row: Row) -> None:
        rows.append(row)
        append(out, row)

    if not rows:
        known = set(answered_at_once(loaded, requests))
        for number in sorted(set(range(len(requests))) - known):
            add({"fact": number, "seed": 0, "method": NOT_KNOWN})
    unknown = {row["fact"] for row in rows if row["method"] == NOT_KNOWN}
    for seed in range(seeds):
        found = 0
        for number, request in enumerate(requests):
            if found >= wanted:
                break
            if number in unknown:
                continue
            done = {row["method"] for row in rows if (row["fact"], row["seed"]) == (number, seed)}
            todo = [unit for unit in units if unit not in done]
            if todo:
                case = prepare(loaded, request, seed, roundings)
                if case is None:
                    add({"fact": number, "seed": seed, "method": NOT_KNOWN})
                    unknown.add(number)
                    continue
                for place, unit in enumerate(todo):
                    progress((seed + (found + place / len(todo)) / wanted) / seeds)
                    add({"fact": number, "seed": seed, "method": unit, **measure(case, unit)})
            found += 1
    progress(1.0)
    return rows


def read_rows(path: Path) -> list[Row]:
    """The rows of an earlier run, if there was one."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def append(path: Path, row: Row) -> None:
    """Write a row as soon as it is known: an interrupted run goes on after it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def mean(values: Sequence[bool | float]) -> float | None:
    """The mean; None of nothing."""
    return statistics.mean(map(float, values)) if values else None
