"""Rephrasing a question, command or cloze by rule, in disjoint families for training and judging.

A prompt is taken apart once (``Parts``); training gets it back as commands, plain questions and openings to be
continued, judging as indirect questions and blanks. Where no rule is sure to stay grammatical, there is no rephrasing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from worker.r2f.banks.grammar import raised
from worker.r2f.banks.parts import Parts
from worker.r2f.banks.questions import QUESTIONS
from worker.r2f.banks.statements import cloze, command, indirect
from worker.r2f.text import normalised


@dataclass(frozen=True)
class Rephrasing:
    """A rephrased prompt, the group it belongs to (train or judge), the rule that made it, and its form as a pattern's:
    question, command, cloze or completion."""

    text: str
    family: str
    rule: str
    form: str


@cache
def rephrase(prompt: str) -> tuple[Rephrasing, ...]:
    """Other forms of a prompt, each once and none the prompt itself; none where no rule is sure to fit."""
    text = " ".join(prompt.split())
    parts = _take_apart(text)
    if parts is None:
        return ()
    made: dict[str, Rephrasing] = {}
    for family, form, found in (*_training(parts), *_judging(parts)):
        words = normalised(found)
        if words != normalised(text) and len(words.split()) > 2:
            made.setdefault(words, Rephrasing(raised(found), family, parts.rule, form))
    return tuple(made.values())


def _training(parts: Parts) -> Iterator[tuple[str, str, str]]:
    if parts.question:
        yield "train", "question", parts.question
    if parts.command:
        yield "train", "command", f"{parts.command}."
    elif parts.clause:
        yield "train", "command", f"Tell me {parts.clause}."
    if parts.opening:
        yield "train", "completion", parts.opening
    if parts.cloze:
        yield "train", "command", f"Continue: {parts.cloze}"
        yield "train", "question", f"What comes next? {parts.cloze} ..."


def _judging(parts: Parts) -> Iterator[tuple[str, str, str]]:
    if parts.clause:
        yield "judge", "question", f"Do you know {parts.clause}?"
        yield "judge", "command", f"I would like to know {parts.clause}."
        yield "judge", "command", f"Please remind me {parts.clause}."
        yield "judge", "question", f"I cannot remember {parts.clause}. Can you help me?"
    if parts.turned:
        yield "judge", "question", parts.turned
    if parts.cloze:
        yield "judge", "cloze", f"Complete the sentence: {parts.cloze} ___."
        yield "judge", "question", f"How does this sentence end? {parts.cloze} ..."
    if parts.blank:
        yield "judge", "cloze", f"Fill in the blank: {parts.blank}."


_MOST_WORDS = 24
_SEVERAL = re.compile(  # sentences or questions in one prompt; the dot of a title or an initial ends none
    r"[?!:]\s|(?<!\bDr)(?<!\bMr)(?<!\bSt)(?<!\bMrs)(?<!\b[A-Z])\.\s+(?=[A-Z])"
    r"|\band (?:who|what|where|when|why|how)\b"
)


def _take_apart(text: str) -> Parts | None:
    """The parts of a prompt of one sentence; None where its shape is not known."""
    text = re.sub(r"^(what|who|where|when|how)['’]s\b", r"\1 is", text, flags=re.IGNORECASE)
    text = re.sub(r"^please,? |,? please(?=[?.]?$)", "", text, flags=re.IGNORECASE)
    several = _SEVERAL.search(text)
    if several or not text or len(text.split()) > _MOST_WORDS:
        return None
    open_end = re.search(r"\b(?:is|was|are|were|by|the|a|an)$", text)
    if re.match(r"(?:who|what|which|where|when|why|how)\b", text, re.IGNORECASE) and not open_end:
        text = text.rstrip("?. ") + "?"
    shapes = (indirect, *QUESTIONS) if text.endswith("?") else (indirect, command, cloze)
    return next((parts for shape in shapes if (parts := shape(text.rstrip("?").strip()))), None)
