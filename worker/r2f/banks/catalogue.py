"""What the banks hold, as frozen records read once from the package's JSON files.

Patterns and wrappers come in two disjoint groups: ``train`` may be seen by gradients and searches, ``judge`` only by
reports. The decoder is trained on the relations whose split is ``decoder``.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from worker.r2f.text import normalised

Group = Literal["train", "judge"]

_ARTICLES = ("the ", "a ", "an ")


def bare(name: str) -> str:
    """A name for comparison: normalised, without a leading article."""
    words = normalised(name).strip()
    return next((words.removeprefix(article) for article in _ARTICLES if words.startswith(article)), words)


@dataclass(frozen=True)
class Pattern:
    """A phrasing with {s} for the subject; form is question, command, cloze or completion (a text to be continued)."""

    form: str
    text: str

    def filled(self, subject: str) -> str:
        """The phrasing about a subject; a leading "the" gets its capital at the start of the sentence."""
        text = self.text.replace("{s}", subject)
        return text[0].upper() + text[1:] if text.startswith(_ARTICLES) else text


@dataclass(frozen=True)
class BankFact:
    """A subject and its answers, the usual one first."""

    subject: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Relation:
    """One relation: what kind of subject has what kind of answer, how it is asked, and facts that hold."""

    id: str
    subject_kind: str
    answer_kind: str
    split: str  # decoder or free
    cues: tuple[str, ...]  # words by which a phrasing outside the patterns still shows what it asks for
    train: tuple[Pattern, ...]
    judge: tuple[Pattern, ...]
    reversed: tuple[str, ...]  # with {a} for the answer
    facts: tuple[BankFact, ...]

    def patterns(self, group: Group) -> tuple[Pattern, ...]:
        return self.train if group == "train" else self.judge

    def fact_about(self, subject: str) -> BankFact | None:
        """The bank's fact about a subject, however it is cased, accented or with an article."""
        wanted = bare(subject)
        return next((fact for fact in self.facts if bare(fact.subject) == wanted), None)

    def answers_for(self, subject: str) -> tuple[str, ...]:
        """The bank's answers for a subject; none when it does not know it."""
        fact = self.fact_about(subject)
        return fact.answers if fact else ()


@dataclass(frozen=True)
class Wrappers:
    """Generic frames around a prompt {p}."""

    train: tuple[str, ...]
    judge: tuple[str, ...]


@dataclass(frozen=True)
class GenericPrompts:
    """Everyday prompts, each for one use only."""

    calibration: tuple[str, ...]  # curvature statistics
    drift: tuple[str, ...]  # the path's budget
    judge: tuple[str, ...]  # the report


def _read(name: str) -> Any:
    return json.loads(files(__package__).joinpath(name).read_text("utf-8"))


def _relation(raw: dict[str, Any]) -> Relation:
    return Relation(
        raw["id"],
        raw["subject_kind"],
        raw["answer_kind"],
        raw["split"],
        tuple(raw["cues"]),
        tuple(Pattern(*pattern) for pattern in raw["train"]),
        tuple(Pattern(*pattern) for pattern in raw["judge"]),
        tuple(raw["reversed"]),
        tuple(BankFact(subject, tuple(answers)) for subject, *answers in raw["facts"]),
    )


@cache
def relations(split: str | None = None) -> tuple[Relation, ...]:
    """All relations, or those of one split, by name."""
    folder = files(__package__).joinpath("relations")
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    every = (_relation(_read(f"relations/{name}")) for name in found)
    return tuple(relation for relation in every if split in (None, relation.split))


@cache
def wrappers() -> Wrappers:
    raw = _read("wrappers.json")
    return Wrappers(tuple(raw["train"]), tuple(raw["judge"]))


@cache
def generic() -> GenericPrompts:
    raw = _read("generic.json")
    return GenericPrompts(tuple(raw["calibration"]), tuple(raw["drift"]), tuple(raw["judge"]))


@cache
def invented(kind: str) -> tuple[str, ...]:
    """Invented but ordinary names of private persons, organisations, and dates; none for other kinds."""
    return tuple(_read("invented.json").get(kind, ()))


@cache
def names(kind: str) -> tuple[str, ...]:
    """Names of a kind of subject or answer, for swaps: the invented ones, then those of the relations."""
    found = list(invented(kind))
    for relation in relations():
        found += [fact.subject for fact in relation.facts if relation.subject_kind == kind]
        found += [fact.answers[0] for fact in relation.facts if relation.answer_kind == kind]
    return tuple({bare(name): name for name in reversed(found)}.values())[::-1]
