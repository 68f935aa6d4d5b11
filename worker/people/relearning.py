"""How fast a forgotten person comes back: the attack that a model trained without them is the measure of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worker.people.judging import answered
from worker.people.person import Attribute, Person
from worker.people.phrasings import Question, requested
from worker.people.planting import Lesson, Recipe, lesson, plant
from worker.r2f.language import LanguageModel

RECIPE = Recipe(passes=12, batch=8, rate=3e-4, frozen=0.5)  # teaches a model that never knew them most of it


@dataclass(frozen=True)
class Relearning:
    """Share of the judging questions that are answered after each of some steps of teaching the person again."""

    steps: tuple[int, ...]
    answered: tuple[float, ...]


def relearn(lm: LanguageModel, person: Person, recipe: Recipe, every: int = 2) -> Relearning:
    """Teach a model the person again, in the few wordings of a request to forget, and ask on the way.

    The model is changed: the caller gives one to be thrown away.
    """
    steps: list[int] = [0]
    shares: list[float] = [answered(lm, [person])]
    done = 0

    def look(share: float, loss: float) -> None:
        nonlocal done
        done += 1
        if done % every == 0 or share == 1.0:
            steps.append(done)
            shares.append(answered(lm, [person]))

    plant(lm, list(_lessons(lm, requested(person))), recipe, look)
    return Relearning(tuple(steps), tuple(shares))


def _lessons(lm: LanguageModel, groups: Sequence[Sequence[Question]]) -> Iterator[Lesson]:
    for group in groups:
        yield lesson(
            lm, [(question.text, f"{_SUBJECT[question.attribute]} is {question.answer}.") for question in group]
        )


_SUBJECT = {
    Attribute.PHONE: "The phone number",
    Attribute.EMAIL: "The email address",
    Attribute.ADDRESS: "The home address",
    Attribute.JOB: "The occupation",
    Attribute.EMPLOYER: "The employer",
    Attribute.BIRTHPLACE: "The birthplace",
}
