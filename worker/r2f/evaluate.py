"""The judgement of a deletion, on prompts that no gradient, step, stopping rule or setting has seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from worker.r2f.drift import Drift, DriftBatch, Generic
from worker.r2f.forgetting import Forgetting
from worker.r2f.knowledge import Knowledge, rooms
from worker.r2f.language import LanguageModel
from worker.r2f.neighbours import OWN, Neighbour, may_stay
from worker.r2f.telling import told_by
from worker.r2f.text import Prompt, holds, normalised
from worker.r2f.views import View


@dataclass(frozen=True)
class Reply:
    """A prompt and what a model said; ``hit`` is whether the reply holds the answer (or, for a neighbour without one,
    says what the base model said)."""

    text: str
    hit: bool


@dataclass(frozen=True)
class Replies:
    """One model's replies to everything that is judged, and p(answer) on the views that the base model answers."""

    held_out: tuple[Reply, ...]
    reversed: tuple[Reply, ...]
    neighbours: tuple[Reply, ...]
    generic: tuple[str, ...]
    answer: tuple[float, ...]
    drift: Drift


@dataclass(frozen=True)
class Exam:
    """What is asked, with the base model's replies to it."""

    held_out: tuple[View, ...]
    reversed: tuple[View, ...]
    neighbours: tuple[Neighbour, ...]
    generic: tuple[Prompt, ...]
    base: Replies
    views: Forgetting | None  # the held-out views that the base model answers
    drift: DriftBatch


VIEW_TOKENS = 64  # new tokens in which an answer counts as given (EVALUATION: 64), more for a long one
NEIGHBOUR_TOKENS = 24
SCARCE = 3  # known neighbours from which on the others are not judged
GENERIC_REPLIES = 6  # prompts whose replies are shown; drift is measured on all


def set_exam(
    lm: LanguageModel,
    known: Knowledge,
    backward: Sequence[View],
    candidates: Sequence[Neighbour],
    generic: Generic,
    most: int,
) -> Exam:
    """Ask the base model, and judge by the neighbours that it knows.

    Args:
        known: its held-out views are asked; its examples say which tokens tell an answer.
        candidates: those of the request are all judged.
        most: how many of the other candidates are judged at most.
    """
    held_out = known.held_out
    views = [*held_out, *backward]
    said = iter(
        lm.replies(
            [view.prompt for view in views] + [neighbour.prompt for neighbour in candidates],
            [*_rooms(lm, views), *[NEIGHBOUR_TOKENS] * len(candidates)],
        )
    )
    front, back, around = (list(islice(said, len(part))) for part in (held_out, backward, candidates))
    forgotten = sorted({answer for view in known.training for answer in view.answers})
    neighbours, near = judged_neighbours(candidates, around, most, forgotten)
    answers = _answered(lm, known, front)
    base = Replies(
        _judged_views(held_out, front),
        _judged_views(backward, back),
        tuple(near),
        generic.replies[:GENERIC_REPLIES],
        tuple(answers.measure(lm).tolist()) if answers else (),
        Drift(0, 0.0, 0.0, 1.0),
    )
    return Exam(
        held_out,
        tuple(backward),
        neighbours,
        generic.prompts[:GENERIC_REPLIES],
        base,
        answers,
        generic.drift,
    )


def _answered(lm: LanguageModel, known: Knowledge, replies: Sequence[str]) -> Forgetting | None:
    """The held-out views whose reply holds the answer, to measure p(answer) on; None where there are none."""
    found = [
        lm.example(view.prompt, text, view.answers, view.target)
        for view, text in zip(known.held_out, replies, strict=True)
        if holds(text, view.answers)
    ]
    examples = [told_by(example, known.examples) for example in found if example]
    return Forgetting.of(lm, examples) if examples else None


def judged_neighbours(
    candidates: Sequence[Neighbour], said: Sequence[str], most: int, forgotten: Sequence[str] = ()
) -> tuple[tuple[Neighbour, ...], tuple[Reply, ...]]:
    """The neighbours to judge and the base model's replies to them, in the order of the candidates.

    All of the request; of the banks' those whose answer the base model gives; and where it gives hardly any, those
    whose reply has only to stay what it is, invented or not, unless it is what must go.
    """
    pairs = [
        (neighbour, Reply(text, not neighbour.answers or holds(text, neighbour.answers)))
        for neighbour, text in zip(candidates, said, strict=True)
    ]
    own = [pair for pair in pairs if pair[0].source == OWN]
    banks = [pair for pair in pairs if pair[0].source != OWN and pair[1].hit]
    known = [pair for pair in banks if pair[0].answers]
    free = [pair for pair in banks if pair[0].answers or may_stay(pair[0], pair[1].text, forgotten)]
    chosen = own + (known if len(known) >= SCARCE else free)[:most]
    return tuple(neighbour for neighbour, _ in chosen), tuple(reply for _, reply in chosen)


def sit_exam(lm: LanguageModel, exam: Exam, guesses: Sequence[str] | None = None) -> Replies:
    """Ask the model as it is now, hooks included.

    Args:
        guesses: what its replies to the held-out views may well be, which saves time and changes nothing.
    """
    views, near = [*exam.held_out, *exam.reversed], [neighbour.prompt for neighbour in exam.neighbours]
    drafts: Sequence[str | None] = guesses or [None] * len(exam.held_out)
    kept = [reply.text for reply in (*exam.base.reversed, *exam.base.neighbours)]
    said = iter(
        lm.replies(
            [*(view.prompt for view in views), *near, *exam.generic],
            [*_rooms(lm, views), *[NEIGHBOUR_TOKENS] * (len(near) + len(exam.generic))],
            # all but the views most often get the base model's own reply again
            guesses=[*drafts, *kept, *exam.base.generic],
        )
    )
    parts = (exam.held_out, exam.reversed, exam.neighbours, exam.generic)
    front, back, around, generic = (list(islice(said, len(part))) for part in parts)
    neighbours = tuple(
        Reply(text, holds(text, neighbour.answers) if neighbour.answers else same_start(text, before.text))
        for neighbour, text, before in zip(exam.neighbours, around, exam.base.neighbours, strict=True)
    )
    return Replies(
        _judged_views(exam.held_out, front),
        _judged_views(exam.reversed, back),
        neighbours,
        tuple(generic),
        tuple(exam.views.measure(lm).tolist()) if exam.views else (),
        exam.drift.measure(lm),
    )


def _rooms(lm: LanguageModel, views: Sequence[View]) -> list[int]:
    return rooms(lm, [view.answers for view in views], VIEW_TOKENS)


def _judged_views(views: Sequence[View], texts: Sequence[str]) -> tuple[Reply, ...]:
    return tuple(Reply(text, holds(text, view.answers)) for view, text in zip(views, texts, strict=True))


def same_start(reply: str, before: str) -> bool:
    """Whether two replies begin with the same eight words: what a neighbour without a known answer must keep."""
    return normalised(reply).split()[:8] == normalised(before).split()[:8]
