"""What a model says of somebody: asked many ways, kept where it says the same again and says it of nobody else.

A question bank is put to the model, greedily and by sampling. A claim is a run of words in a greedy reply that neither
the question nor everyday English accounts for ("202-555-0143" in "The number of Jo Doe is 202-555-0143"). It counts as
known when most replies to questions of its kind hold it, and when the model finds it much likelier of this person than
of people who never were: an answer that anybody would get ("English" as a language) is nobody's secret.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import median
from typing import Any, Protocol

from worker.r2f.banks import invented
from worker.r2f.banks.spans import PARTICLES
from worker.r2f.config import Config
from worker.r2f.forgetting import Forgetting
from worker.r2f.language import LanguageModel
from worker.r2f.text import Prompt, holds, normalised

SAMPLES = 3  # sampled replies to each question, beside the greedy one
AGREEMENT = 0.6  # least share of a kind's replies that hold a claim
LIKELY = 0.05  # least probability of the claim, where the model said it
TIMES = 10.0  # the odds of the claim must be so many times those for half of the strangers
# a model that makes things up gives some stranger the person's answer: the median forgives that, the mean would not
STRANGERS = 5
MOST = 12  # statements about one person
_WORD = re.compile(r"[^\W_]+")
_ENDS = re.compile(r"[.!?;:]\s|\n|[\"“”()]")  # a gap that no claim reaches across


@dataclass(frozen=True)
class Kind:
    """One thing to know of somebody, and the questions that ask for it."""

    kind: str
    questions: tuple[str, ...]  # with {s} for the name


@dataclass(frozen=True)
class Claim:
    """Something that the model said of somebody."""

    kind: str
    question: str
    others: tuple[str, ...]  # other questions of the kind whose greedy reply holds it too
    answer: str
    reply: str  # the greedy reply that it was found in
    agreement: float  # share of the kind's replies that hold it
    likely: float | None  # its probability in that reply; not looked at where too few replies hold the claim
    elsewhere: float | None  # the same of strangers: the median

    @property
    def sure(self) -> bool:
        """Whether the model says it consistently, and of this person in particular."""
        if self.likely is None or self.elsewhere is None:
            return False
        return self.likely >= LIKELY and _against(self.likely) >= TIMES * _against(self.elsewhere)


@dataclass(frozen=True)
class Claims:
    """What a model said of somebody: what counts as known, and what is too unsure or said already."""

    known: tuple[Claim, ...]
    others: tuple[Claim, ...]


class Speaker(Protocol):
    """Somebody who can be asked: a language model."""

    def replies(self, prompts: Sequence[Prompt], tokens: int) -> list[str]:
        """Greedy replies."""

    def samples(self, prompts: Sequence[Prompt], tokens: int, *, seed: int) -> list[str]:
        """Sampled replies."""


# p(answer) in each of some replies; none where the tokenizer does not find the answer in one of them again
Chance = Callable[[Sequence[tuple[Prompt, str]], str], Sequence[float]]


def chances(lm: LanguageModel, said: Sequence[tuple[Prompt, str]], answer: str) -> Sequence[float]:
    """The probability of the answer in each of the replies, as the model finds it."""
    examples = [example for prompt, reply in said if (example := lm.example(prompt, reply, [answer]))]
    found: list[float] = Forgetting.of(lm, examples).whole_answer(lm).tolist() if len(examples) == len(said) else []
    return found


def claims_about(lm: Speaker, chance: Chance, name: str, config: Config, progress: Callable[[float], None]) -> Claims:
    """Ask about somebody; at most ``MOST`` claims count as known, the most consistent first."""
    asked = [(kind, question.replace("{s}", name)) for kind in kinds() for question in kind.questions]
    prompts = [Prompt(question) for _, question in asked]
    greedy = lm.replies(prompts, config.reply_tokens)
    progress(0.4)
    drawn = lm.samples(prompts * SAMPLES, config.reply_tokens, seed=config.seed)
    progress(0.8)
    found: dict[str, Claim] = {}
    for kind in kinds():
        rows = [n for n, (of, _) in enumerate(asked) if of == kind]
        said = [(asked[n][1], greedy[n]) for n in rows]
        every = [greedy[n] for n in rows] + [drawn[n + turn * len(asked)] for n in rows for turn in range(SAMPLES)]
        for claim in _of_kind(chance, kind.kind, name, said, every):
            same = normalised(claim.answer)
            if same not in found or (claim.sure and not found[same].sure):
                found[same] = claim
    progress(1.0)
    sure = {claim.answer: claim for claim in sorted(found.values(), key=lambda c: -c.agreement) if claim.sure}
    known = tuple(sure[answer] for answer in _apart(sure)[:MOST])
    return Claims(known, tuple(claim for claim in found.values() if claim not in known))


def _of_kind(
    chance: Chance, kind: str, name: str, said: Sequence[tuple[str, str]], every: Sequence[str]
) -> Iterator[Claim]:
    """The claims of one kind that were made more than once, without those that repeat a better one."""
    heard: dict[str, tuple[str, str]] = {}
    for question, reply in said:
        for answer in spans(reply, question):
            heard.setdefault(answer, (question, reply))
    counts = {answer: sum(holds(reply, [answer]) for reply in every) for answer in heard}
    again = sorted((a for a, count in counts.items() if count > 1), key=lambda a: (-counts[a], -len(a)))
    for answer in _apart(again):
        question, reply = heard[answer]
        others = tuple(q for q, r in said if q != question and holds(r, [answer]))
        agreement = counts[answer] / len(every)
        odds = _odds(chance, name, question, reply, answer) if agreement >= AGREEMENT else (None, None)
        yield Claim(kind, question, others, answer, reply, agreement, *odds)


def spans(reply: str, question: str) -> list[str]:
    """Runs of words in a reply that the question and everyday English do not account for.

    A particle between two words of a run belongs to it: "University of Leeds".
    """
    usual = set(normalised(question).split()) | fillers()
    words: list[tuple[str, int, int]] = []  # o: its own, p: particle, -: usual, |: where no run goes on
    last = 0
    for word in _WORD.finditer(reply):
        if _ENDS.search(reply[last : word.start()]):
            words.append(("|", last, last))
        plain, last = normalised(word[0]).strip(), word.end()
        words.append(("o" if plain not in usual else "p" if plain in PARTICLES else "-", *word.span()))
    runs = re.finditer("o(?:p*o)*", "".join(mark for mark, _, _ in words))
    found = (reply[words[run.start()][1] : words[run.end() - 1][2]] for run in runs)
    return [text for text in dict.fromkeys(found) if len(text) > 1]


def _odds(chance: Chance, name: str, question: str, reply: str, answer: str) -> tuple[float, float]:
    """The probability of the answer in its reply, and the same with strangers in the person's place, the median."""
    strangers = [other for other in invented("person") if normalised(other) != normalised(name)][:STRANGERS]
    put = [(Prompt(question.replace(name, n)), reply.replace(name, n)) for n in (name, *strangers)]
    first, *rest = chance(put, answer) or (0.0, 1.0)
    return first, median(rest)


def _against(chance: float) -> float:
    """The odds of a chance: unlike it, they tell 0.99 from 0.6 as well as 0.06 from 0.01."""
    return chance / (1 - chance + 1e-6)


def _apart(answers: Iterable[str]) -> list[str]:
    """Without answers that hold, or are held by, an earlier one."""
    kept: list[str] = []
    for answer in answers:
        if not any(holds(answer, [other]) or holds(other, [answer]) for other in kept):
            kept.append(answer)
    return kept


@cache
def kinds() -> tuple[Kind, ...]:
    """What people are asked about."""
    return tuple(Kind(entry["kind"], tuple(entry["questions"])) for entry in _bank()["kinds"])


@cache
def fillers() -> frozenset[str]:
    """Words that say nothing about anybody."""
    return frozenset(_bank()["fillers"])


@cache
def _bank() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files(__package__) / "about.json").read_text("utf-8"))
    return found
