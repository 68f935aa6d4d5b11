"""The unlearning table: R2F and what it is compared with, paired over facts, with relearning and rounding.

    r2f bench unlearning --data FOLDER [--facts 16] [--seeds 3] [--method r2f …] [--whole] [--out FILE.jsonl]
    r2f bench unlearning --quick

FOLDER holds known_1000/questions.jsonl (question, answer, answer_group). Every second of its facts is reported, in turn
over answer groups; the others are for tuning. Without it: the packaged demo facts, which settings were tried on. One
line of JSON is written for each fact, seed and method as it is done, and what is in the file is not run again. Sampled
replies, rounding and relearning take most of the time and are measured with --whole.
Facts that the model does not know serve as the control of relearning: what an attack teaches it anew.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from app.methods import WITHOUT_ADAPTER, Method
from app.models import Stage
from app.schemas import DeletionRequest
from benchmarks.cases import ROUNDINGS, Case, asked, which_answered
from benchmarks.measures import Row, alike, attacked, judged, lasting, lessons
from benchmarks.runs import append, not_known, run
from benchmarks.tables import interval, paired_table
from worker import pipeline, serving
from worker.baselines.catalogue import BASELINES
from worker.baselines.task import Unlearned, Unlearner
from worker.errors import NoStep
from worker.loading import Loaded
from worker.r2f.adaptation import Update
from worker.r2f.knowledge import some_of_each, template
from worker.r2f.linearise import Linearise
from worker.unlearning import flattened, settings_of, task_of

CONTROL = "never_knew"
QUICK = (Method.R2F, Method.FULL_GRADIENT, Method.NPO)
# they walk R2F's path, and so with its curvature
ON_THE_PATH = frozenset(
    {Method.R2F, Method.FULL_GRADIENT, Method.FULL_GRADIENT_DENSE, Method.LORA_SINGLE, Method.LORA_MULTI}
)
KEPT_BY = (
    "What trained methods keep, they keep by replies to the neighbours that R2F protects and to some generic prompts; "
    "R2F and the full and LoRA gradients, which walk its path, also by the curvature of those neighbours and of "
    "generic text (20,000 tokens unless R2F_CALIBRATION_TOKENS says otherwise)."
)


def compare(
    loaded: Loaded,
    requests: Sequence[DeletionRequest],
    methods: Sequence[Method],
    *,
    wanted: int,
    seeds: int,
    whole: bool,
    controls: int,
    out: Path,
    progress: Callable[[float], None],
) -> list[Row]:
    """Run what is not in the file yet, the controls of relearning last; the rows of all that is."""
    rows = run(
        loaded,
        requests,
        [method.value for method in methods],
        lambda case, name: measured(loaded, case, requests, Method(name), BASELINES.get(Method(name)), whole=whole),
        settings={
            "bench": "unlearning",
            "whole": whole,
            **flattened({method: settings_of(method) for method in BASELINES}),
        },
        wanted=wanted,
        seeds=seeds,
        out=out,
        progress=progress,
        roundings=ROUNDINGS if whole else (),
    )
    return add_controls(loaded, requests, rows, controls, out)


def add_controls(
    loaded: Loaded, requests: Sequence[DeletionRequest], rows: list[Row], controls: int, out: Path
) -> list[Row]:
    """The rows, with what the attack teaches of so many facts that the model never knew.

    A fact that it knows after all, by a sample or by what is likely, is no control: its row has no value.
    """
    tried = {row["fact"]: row["never_knew"] for row in rows if row["method"] == CONTROL}
    for number in not_known(rows, None):
        if sum(share is not None for share in tried.values()) >= controls:
            break
        if number not in tried:
            tried[number] = _taught(loaded, requests[number])
            rows.append(append(out, {"fact": number, "seed": 0, "method": CONTROL, "never_knew": tried[number]}))
    return rows


def measured(
    loaded: Loaded,
    case: Case,
    requests: Sequence[DeletionRequest],
    method: Method,
    unlearner: Unlearner | None,
    *,
    whole: bool,
) -> Row:
    """One method on one fact, measured.

    Its seconds begin with the views and the base model's replies at hand, and hold the neighbours' curvature where the
    method uses it; the generic one's are the model's, taken once.

    Args:
        requests: other facts among them, which benign fine-tuning teaches.
        unlearner: the method with its settings; None for R2F, whose settings are the deletion's.
        whole: sampled replies, rounding and relearning too.
    """
    started = time.perf_counter()
    update, intervention = _forget(loaded, case, method, unlearner)
    seconds = time.perf_counter() - started
    if method in ON_THE_PATH:
        seconds += case.curvature_seconds()
    row: Row = {"seconds": seconds}
    row |= judged(loaded, case, update, intervention) | alike(loaded, case, update, intervention)
    if whole:
        row |= lasting(loaded, case, update, intervention)
    if whole and update:
        others = lessons(loaded, case, requests)
        row["benign"] = attacked(loaded, case.views, update, others, guesses=case.drafts)
    return row


def _forget(
    loaded: Loaded, case: Case, method: Method, unlearner: Unlearner | None
) -> tuple[Update, Callable[[], AbstractContextManager[object]]]:
    """The update as an adapter would hold it, and what is entered beside it."""
    config, known, kept = replace(case.config, method=method.value), case.known, case.kept
    lm = loaded.lm

    def quiet(stage: Stage, fraction: float) -> None:
        return None

    if unlearner is None:
        walked = pipeline.unlearn(loaded, kept, known, Linearise(lm, loaded.decoder, config), config, quiet)
        return serving.shrink(loaded, kept.curvature, walked, config)[0], ExitStack
    if method not in WITHOUT_ADAPTER:
        walked = pipeline.compare(loaded, kept, known, unlearner, config, quiet)
        return serving.shrink(loaded, kept.curvature, walked, config)[0], ExitStack
    leaks = pipeline.leaking(loaded, known, config, quiet)
    done = unlearner(task_of(loaded, known, kept, leaks, config, lambda share: None))
    if not isinstance(done, Unlearned):
        return {}, done
    if not done.update:
        raise NoStep(NoStep.__doc__)
    return done.update, ExitStack


def _taught(loaded: Loaded, request: DeletionRequest) -> float | None:
    """The never-knew control: RAP's attack, with as many examples, on the base model with a fact that it does not know.

    Counted are the held-out views that it does not answer before. None where it knows the fact, or where they are too
    few to tell.
    """
    known = asked(loaded, request, 0)
    if known.examples:
        return None
    told = which_answered(loaded, known.held_out)
    views = [view for view, answered in zip(known.held_out, told, strict=True) if not answered]
    if len(views) < request.thresholds.held_out_views:
        return None
    chosen = some_of_each(known.training, pipeline.config_of(request, loaded).views)
    made = (loaded.lm.example(view.prompt, template(loaded.lm, view), view.answers, view.target) for view in chosen)
    return attacked(loaded, views, {}, [example for example in made if example])


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: means over facts, failures counted; what each method has more than R2F, paired; RAP's control."""
    shown = paired_table("method", [row for row in rows if row["method"] != CONTROL], lambda unit: Method.R2F.value)
    control = [row for row in rows if row["method"] == CONTROL and row["never_knew"] is not None]
    never = f"RAP on facts that the model never knew ({len(control)}): {interval(control, 'never_knew')}"
    return f"{shown}\n\n{KEPT_BY}\n\n{never}"
