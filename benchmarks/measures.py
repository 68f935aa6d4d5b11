"""What is measured of an update on one fact: forgetting, what it costs, and how long it lasts."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from random import Random

import torch

from app.schemas import DeletionRequest, PromptTarget
from benchmarks.cases import Case, which_answered
from worker import pipeline, serving
from worker.loading import Loaded
from worker.r2f.adaptation import Adaptation, Update
from worker.r2f.config import Config
from worker.r2f.evaluate import VIEW_TOKENS, sit_exam
from worker.r2f.examples import Example
from worker.r2f.finetuning import DivergedError
from worker.r2f.forward import span_logits
from worker.r2f.identity import similarity
from worker.r2f.knowledge import Knowledge
from worker.r2f.linearise import FirstOrder
from worker.r2f.quantisation import QUANTISERS, Merged, quantised
from worker.r2f.relearning import Attack, relearn
from worker.r2f.text import Prompt, degenerate, holds
from worker.r2f.views import View
from worker.unlearning import Protection

SAMPLES = 4  # sampled replies to each view
TAUGHT = 16  # other facts that benign fine-tuning teaches, where there are so many
ATTACK = Attack()
Row = dict[str, object]


def walked(
    loaded: Loaded,
    case: Case,
    kept: Protection,
    known: Knowledge,
    linearise: FirstOrder,
    config: Config,
    *,
    whole: bool,
) -> Row:
    """R2F's path along some gradients, compressed and measured.

    Args:
        whole: sampled replies, rounding and RAP too, which take most of the time.
    """
    update, row = computed(loaded, kept, known, linearise, config)
    row |= judged(loaded, case, update)
    return row | lasting(loaded, case, update) if whole else row


def computed(
    loaded: Loaded,
    kept: Protection,
    known: Knowledge,
    linearise: FirstOrder,
    config: Config,
    merged: Merged | None = None,
) -> tuple[Update, Row]:
    """R2F's update along some gradients, compressed, with its seconds and rounds."""
    started = time.perf_counter()
    path = pipeline.unlearn(loaded, kept, known, linearise, config, lambda stage, fraction: None, merged)
    update, _ = serving.shrink(loaded, kept.curvature, path, config, merged)
    return update, {
        "seconds": time.perf_counter() - started,
        "rounds": len(path.steps),
    }


def lasting(
    loaded: Loaded, case: Case, update: Update, intervention: Callable[[], AbstractContextManager[object]] = ExitStack
) -> Row:
    """Sampled replies, rounding, and RAP; an intervention without an update leaves nothing to fine-tune.

    To be called after `judged`: most of its replies stay what they are when rounded, and what comes back is the base's.
    """
    row = sampled(loaded, case, update, intervention)
    row |= rounded(loaded, case, update, intervention, case.drafts)
    if not update:
        return row
    base = [reply.text for reply in case.exam.base.held_out]
    return row | {"rap": attacked(loaded, case.views, update, case.known.examples, guesses=base)}


@contextmanager
def in_force(
    loaded: Loaded, update: Update, intervention: Callable[[], AbstractContextManager[object]]
) -> Iterator[None]:
    """The model with an update and whatever is entered beside it."""
    with intervention(), Adaptation(loaded.lm.model, loaded.lm.sites) as adaptation:
        adaptation.use(update)
        yield


def judged(
    loaded: Loaded, case: Case, update: Update, intervention: Callable[[], AbstractContextManager[object]] = ExitStack
) -> Row:
    """Greedy forgetting and what it costs, with an update in force and whatever is entered beside it.

    The replies are left in the case as what the next method's may well be.
    """
    lm = loaded.lm
    with in_force(loaded, update, intervention):
        after = sit_exam(lm, case.exam, case.drafts or None)
    case.drafts[:] = [reply.text for reply in after.held_out]
    pairs = zip(case.exam.base.held_out, after.held_out, strict=True)
    known = [(before, now) for before, now in pairs if before.hit]
    success = [not now.hit for _, now in known]
    near = [now.hit for base, now in zip(case.exam.base.neighbours, after.neighbours, strict=True) if base.hit]
    return {
        "success": mean(success),
        "success_worst": float(all(success)),
        "answer": mean(after.answer),
        "neighbours": mean(near),
        "kl": after.drift.kl_mean,
        "agreement": after.drift.agreement,
        "degenerate": mean([degenerate(now.text) for _, now in known]),
        "degenerate_before": mean([degenerate(before.text) for before, _ in known]),
    }


def alike(
    loaded: Loaded, case: Case, update: Update, intervention: Callable[[], AbstractContextManager[object]] = ExitStack
) -> Row:
    """How alike the distributions on generic prompts are to the base model's (paper, appendix C)."""
    lm, drift = loaded.lm, case.exam.drift
    with in_force(loaded, update, intervention), torch.no_grad():
        now = span_logits(lm.model, drift.batch).log_softmax(-1)
    return {"similarity": similarity(drift.reference, now)}


def sampled(
    loaded: Loaded, case: Case, update: Update, intervention: Callable[[], AbstractContextManager[object]] = ExitStack
) -> Row:
    """The share of views that no sampled reply answers."""
    with in_force(loaded, update, intervention):
        prompts = [view.prompt for view in case.views for _ in range(SAMPLES)]
        said = loaded.lm.samples(prompts, VIEW_TOKENS, seed=case.config.seed)
    silent = [
        not any(holds(reply, view.answers) for reply in said[n * SAMPLES : (n + 1) * SAMPLES])
        for n, view in enumerate(case.views)
    ]
    return {"success_sampled": mean(silent)}


def rounded(
    loaded: Loaded,
    case: Case,
    update: Update,
    intervention: Callable[[], AbstractContextManager[object]] = ExitStack,
    guesses: Sequence[str] | None = None,
) -> Row:
    """Forgetting after the merged weights are rounded, of the views that the rounded base model answers."""
    row: Row = {}
    for name, before in case.rounded.items():
        weights = quantised(loaded.lm.model, loaded.lm.sites, update, QUANTISERS[name])
        said = which_answered(loaded, case.views, weights, intervention(), guesses=guesses)
        row[f"success_{name}"] = mean([not now for base, now in zip(before, said, strict=True) if base])
    return row


def lessons(loaded: Loaded, case: Case, requests: Sequence[DeletionRequest]) -> list[Example]:
    """Other facts, with other answers, as a fine-tuner might have them: the question and its bare answer."""
    own = [answer for view in case.views for answer in view.answers]
    pairs = (
        (target.prompt, target.answer)
        for request in Random(case.config.seed).sample(requests, len(requests))  # they come in order of their relations
        for target in request.targets[:1]
        if isinstance(target, PromptTarget)
        and not holds(f"{target.prompt} {target.answer}", own)
        and not any(holds(answer, (target.answer, *target.aliases)) for answer in own)
    )
    made = (loaded.lm.whole_reply(Prompt(prompt), answer) for prompt, answer in pairs)
    return list(islice((example for example in made if example), TAUGHT))


def attacked(
    loaded: Loaded,
    views: Sequence[View],
    update: Update,
    examples: Sequence[Example],
    attack: Attack = ATTACK,
    guesses: Sequence[str] | None = None,
) -> float | None:
    """The share of views that are answered after fine-tuning on examples; None without any, or where it diverges.

    What has diverged says nothing on what can be taught again, and takes nothing from what else was measured.
    """
    if not examples:
        return None
    try:
        again = relearn(loaded.lm, update, examples, attack)
    except DivergedError:
        return None
    with Adaptation(loaded.lm.model, loaded.lm.sites) as adaptation:
        adaptation.use(again)
        return mean(which_answered(loaded, views, guesses=guesses))


def mean(values: Sequence[bool | float]) -> float | None:
    """The mean; None of nothing."""
    return statistics.mean(map(float, values)) if values else None
