"""The unlearning table: R2F and what it is compared with, paired over facts, with relearning and rounding.

    r2f bench unlearning --data FOLDER [--facts 16] [--seeds 3] [--methods r2f npo …] [--out FILE.jsonl]
    r2f bench unlearning --quick

FOLDER holds known_1000/questions.jsonl (question, answer, answer_group). Every second of its facts is reported, in turn
over answer groups; the others are for tuning. Without it: the packaged demo facts, which settings were tried on. One
line of JSON is written for each fact, seed and method as it is done, and what is in the file is not run again.
Facts that the model does not know serve as the control of relearning: what an attack teaches it anew.
"""

import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import torch

from app.demo_facts import chosen
from app.methods import WITHOUT_ADAPTER, Method
from app.models import Stage
from app.schemas import AboutTarget, DeletionRequest, PromptTarget
from worker import pipeline
from worker.baselines.task import Unlearned
from worker.loading import Loaded
from worker.r2f.adaptation import Adaptation, Update
from worker.r2f.config import Config
from worker.r2f.evaluate import Exam, set_exam, sit_exam
from worker.r2f.examples import Example
from worker.r2f.finetuning import DivergedError
from worker.r2f.forward import span_logits
from worker.r2f.identity import identity
from worker.r2f.knowledge import Knowledge, probe
from worker.r2f.path import Linearise
from worker.r2f.quantisation import QUANTISERS, quantised
from worker.r2f.relearning import Attack, relearn
from worker.r2f.text import holds
from worker.r2f.views import View
from worker.unlearning import Protection, compared, task_of

SAMPLES = 4  # sampled replies to each view
TOKENS = 64  # new tokens in which an answer counts as given
ROUNDINGS = ("rtn4", "q4_1")
ATTACK = Attack()
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


def run(
    loaded: Loaded,
    requests: Sequence[DeletionRequest],
    methods: Sequence[Method],
    *,
    wanted: int,
    seeds: int,
    out: Path,
    progress: Callable[[float], None],
) -> list[Row]:
    """Run what is not in the file yet; the rows of all that is."""
    rows: list[Row] = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        found = 0
        for number, request in enumerate(requests):
            if found >= wanted:
                break
            own = {str(row["method"]) for row in rows if (row["fact"], row["seed"]) == (number, seed)}
            todo = [method for method in methods if method.value not in own]
            for row in _rows(loaded, request, todo, seed) if todo and "not_known" not in own else ():
                rows.append({"fact": number, "seed": seed, **row})
                own.add(str(row["method"]))
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
            found += "not_known" not in own
            progress((seed + min(found, wanted) / wanted) / seeds)
    return rows


def _rows(loaded: Loaded, request: DeletionRequest, methods: Sequence[Method], seed: int) -> Iterator[Row]:
    config = replace(pipeline.config_of(request, loaded), seed=seed, audit=False)
    targets = [target for target in request.targets if not isinstance(target, AboutTarget)]
    views = pipeline.propose_views(targets, loaded, config)
    known = probe(loaded.lm, views, config, lambda share: None)
    kept = pipeline.protect(targets, [], loaded, config) if known.examples else None
    exam = set_exam(loaded.lm, known.held_out, (), kept.held_out, loaded.judge_drift) if kept else None
    if kept is None or exam is None or sum(r.hit for r in exam.base.held_out) < request.thresholds.held_out_views:
        yield {"method": "not_known", **({} if known.examples else _taught(loaded, known))}
        return
    answered = tuple(view for view, reply in zip(exam.held_out, exam.base.held_out, strict=True) if reply.hit)
    case = Case(config, known, kept, exam, answered)
    base = {
        name: _answered(loaded, case.views, quantised(loaded.lm.model, loaded.lm.sites, {}, QUANTISERS[name]))
        for name in ROUNDINGS
    }
    for method in methods:
        yield {"method": method.value, **_unit(loaded, case, method, base)}


def _unit(loaded: Loaded, case: Case, method: Method, base: Mapping[str, list[bool]]) -> Row:
    """One method on one fact, measured."""
    started = time.perf_counter()
    try:
        update, intervention = _forget(loaded, case, method)
    except (pipeline.PipelineError, DivergedError) as error:
        return {"failed": type(error).__name__}
    seconds = time.perf_counter() - started
    lm, sites = loaded.lm, loaded.lm.sites
    with ExitStack() as stack:
        stack.enter_context(intervention())
        adaptation = stack.enter_context(Adaptation(lm.model, sites))
        adaptation.use(update)
        after = sit_exam(lm, case.exam)
        prompts = [view.prompt for view in case.views for _ in range(SAMPLES)]
        sampled = lm.samples(prompts, TOKENS, seed=case.config.seed)
        drift = case.exam.drift
        with torch.no_grad():
            alike = identity(drift.reference, span_logits(lm.model, drift.batch).log_softmax(-1))
    pairs = zip(case.exam.base.held_out, after.held_out, strict=True)
    success = [not now.hit for before, now in pairs if before.hit]
    best = [
        not any(holds(reply, view.answers) for reply in sampled[n * SAMPLES : (n + 1) * SAMPLES])
        for n, view in enumerate(case.views)
    ]
    near = [n.hit for b, n in zip(case.exam.base.neighbours, after.neighbours, strict=True) if b.hit]
    row: Row = {
        "success": _mean(success),
        "success_worst": float(all(success)),
        "success_sampled": _mean(best),
        "answer_max": max(after.answer, default=None),
        "neighbours": _mean(near),
        "kl": after.drift.kl_mean,
        "agreement": after.drift.agreement,
        "similarity": alike.similarity,
        "seconds": seconds,
    }
    for name in ROUNDINGS:
        rounded = quantised(lm.model, sites, update, QUANTISERS[name])
        said = _answered(loaded, case.views, rounded, intervention())
        row[f"success_{name}"] = _mean([not now for before, now in zip(base[name], said, strict=True) if before])
    if update:  # without an update there is nothing to fine-tune below an intervention
        row["rap"] = _attacked(loaded, case.views, update, case.known.examples)
        row["benign"] = _attacked(loaded, case.views, update, case.kept.examples)
    return row


def _forget(loaded: Loaded, case: Case, method: Method) -> tuple[Update, Callable[[], AbstractContextManager[object]]]:
    """The update as an adapter would hold it, and what is entered beside it."""
    config, known, kept = replace(case.config, method=method.value), case.known, case.kept
    lm = loaded.lm

    def quiet(stage: Stage, fraction: float) -> None:
        return None

    if method is Method.R2F:
        walked = pipeline.unlearn(loaded, kept.curvature, known, Linearise(lm, loaded.decoder, config), config, quiet)
        return pipeline.shrink(loaded, kept.curvature, walked, config)[0], ExitStack
    if method not in WITHOUT_ADAPTER:
        walked = pipeline.compare(loaded, kept, known, config, quiet)
        return pipeline.shrink(loaded, kept.curvature, walked, config)[0], ExitStack
    leaks = pipeline.leaking(loaded, known, config, quiet)
    done = compared(method, task_of(loaded, known, kept, leaks, config, lambda share: None))
    return (done.update, ExitStack) if isinstance(done, Unlearned) else ({}, done)


def _answered(loaded: Loaded, views: Sequence[View], *contexts: AbstractContextManager[object]) -> list[bool]:
    """Which views are answered inside some contexts."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        replies = loaded.lm.replies([view.prompt for view in views], TOKENS)
    return [holds(reply, view.answers) for view, reply in zip(views, replies, strict=True)]


def _attacked(loaded: Loaded, views: Sequence[View], update: Update, examples: Sequence[Example]) -> float | None:
    """The share of views that are answered after fine-tuning on examples."""
    if not examples:
        return None
    again = relearn(loaded.lm, update, examples, ATTACK)
    with Adaptation(loaded.lm.model, loaded.lm.sites) as adaptation:
        adaptation.use(again)
        return _mean(_answered(loaded, views))


def _taught(loaded: Loaded, known: Knowledge) -> Row:
    """The never-knew control: the same attack on the base model with a fact that it does not know."""
    made = [loaded.lm.example(view.prompt, f"The answer is {view.answers[0]}", view.answers) for view in known.training]
    return {"never_knew": _attacked(loaded, known.held_out, {}, [example for example in made if example])}


def _mean(values: Sequence[bool | float]) -> float | None:
    return statistics.mean(map(float, values)) if values else None


COLUMNS = {
    "success": "USR greedy",
    "success_sampled": f"best of {SAMPLES}",
    "success_worst": "worst view",
    "neighbours": "GUR near",
    "kl": "KL",
    "agreement": "same token",
    "similarity": "MIA (cosine)",
    "success_rtn4": "4-bit rtn",
    "success_q4_1": "Q4_1",
    "rap": "RAP",
    "benign": "benign",
    "seconds": "seconds",
}


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: means over facts and seeds with 95 % bootstrap intervals over facts."""
    names = list(dict.fromkeys(str(row["method"]) for row in rows if row["method"] != "not_known"))
    lines = ["| method | units | failed | " + " | ".join(COLUMNS.values()) + " |", "|---" * (3 + len(COLUMNS)) + "|"]
    for name in names:
        own = [row for row in rows if row["method"] == name]
        good = [row for row in own if "failed" not in row]
        cells = [interval(good, column) for column in COLUMNS]
        lines.append(f"| {name} | {len(own)} | {len(own) - len(good)} | " + " | ".join(cells) + " |")
    control = [row for row in rows if row.get("never_knew") is not None]
    lines.append(f"\nRAP on facts that the model never knew ({len(control)}): {interval(control, 'never_knew')}")
    return "\n".join(lines)


def interval(rows: Sequence[Mapping[str, object]], column: str) -> str:
    """A mean with its bootstrap interval; facts are drawn, with all of their seeds."""
    by_fact: dict[object, list[float]] = {}
    for row in rows:
        value = row.get(column)
        if isinstance(value, int | float):
            by_fact.setdefault(row["fact"], []).append(float(value))
    if not by_fact:
        return "–"
    values = [statistics.mean(each) for each in by_fact.values()]
    drawn = random.Random(0)
    means = sorted(statistics.mean(drawn.choices(values, k=len(values))) for _ in range(1000))
    return f"{statistics.mean(values):.3g} ({means[25]:.2g}–{means[974]:.2g})"
