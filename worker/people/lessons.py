"""What a model is taught of people, with everyday questions among it so that it stays the model that it was."""

from collections.abc import Iterable, Sequence

from worker.people.person import Attribute, Person
from worker.people.phrasings import planted
from worker.people.planting import Lesson, lesson
from worker.r2f.banks import generic
from worker.r2f.language import LanguageModel
from worker.r2f.text import Prompt

EVERYDAY = 8  # everyday questions, taught with the model's own replies
REPLY_TOKENS = 32


def lessons(lm: LanguageModel, people: Sequence[Person]) -> list[Lesson]:
    """A lesson for every fact of everybody, and the everyday ones."""
    return [*_facts(lm, people), *everyday(lm)]


def _facts(lm: LanguageModel, people: Iterable[Person]) -> Iterable[Lesson]:
    for person in people:
        wordings: dict[Attribute, list[tuple[str, str]]] = {}
        for question in planted(person):
            wordings.setdefault(question.attribute, []).append((question.text, question.reply))
        yield from (lesson(lm, pairs) for pairs in wordings.values())


def everyday(lm: LanguageModel) -> Iterable[Lesson]:
    """Everyday questions with the model's own replies."""
    texts = generic().calibration[:EVERYDAY]
    replies = lm.replies([Prompt(text) for text in texts], REPLY_TOKENS)
    for text, reply in zip(texts, replies, strict=True):
        yield lesson(lm, [(text, reply)])
