"""How people are spoken of: phrasings in families that planting, deleting and judging never share."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from worker.people.person import Attribute, Person


@dataclass(frozen=True)
class Question:
    """A question about one attribute of one person, with what is true and the whole reply where it is known."""

    person: str
    attribute: Attribute
    text: str
    answer: str
    reply: str = ""


@dataclass(frozen=True)
class Phrasings:
    """Templates of one attribute; {s} stands for the person, {a} for the answer, {an} for it with its article."""

    plant: tuple[tuple[str, str], ...]  # question and reply: what a model is taught by
    delete: tuple[str, ...]  # what a request to forget says
    judge: tuple[str, ...]  # what nothing but a judgement asks

    @classmethod
    def of(cls, found: Mapping[str, Sequence[Sequence[str]]]) -> "Phrasings":
        """Read an entry of the file."""
        pairs = tuple((question, reply) for question, reply in found["plant"])
        return cls(pairs, *(tuple(str(text) for text in found[part]) for part in ("delete", "judge")))


def planted(person: Person) -> list[Question]:
    """What a model is taught of somebody, as questions with whole replies."""
    return [
        _filled(person, attribute, question, reply)
        for attribute in person.facts
        for question, reply in phrasings()[attribute].plant
    ]


def requested(person: Person) -> list[list[Question]]:
    """What a request to forget somebody asks: for every attribute its phrasings."""
    return [[_filled(person, attribute, text) for text in phrasings()[attribute].delete] for attribute in person.facts]


def judged(person: Person) -> list[Question]:
    """What only a judgement asks."""
    return [_filled(person, attribute, text) for attribute in person.facts for text in phrasings()[attribute].judge]


def _filled(person: Person, attribute: Attribute, question: str, reply: str = "") -> Question:
    answer = person.facts[attribute]
    texts = (_put(text, person.name, answer) for text in (question, reply))
    return Question(person.name, attribute, next(texts), answer, next(texts))


def _put(text: str, subject: str, answer: str) -> str:
    article = "an" if answer[:1] in "aeiou" else "a"
    return text.format(s=subject, a=answer, an=f"{article} {answer}")


@cache
def phrasings() -> Mapping[Attribute, Phrasings]:
    """The templates of every attribute."""
    entries = json.loads((files(__package__) / "phrasings.json").read_text("utf-8"))
    return {Attribute(name): Phrasings.of(entry) for name, entry in entries.items()}
