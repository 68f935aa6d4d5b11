"""Which relation of the banks a prompt asks for."""

import re
from dataclasses import dataclass
from functools import cache

from worker.r2f.banks.catalogue import BankFact, Relation, bare, relations, wrappers
from worker.r2f.banks.entities import kinds_of, name_of, spelled, stands_alone
from worker.r2f.text import normalised

_LONGEST_SUBJECT = 8  # words; what is longer is a clause that the pattern only seems to fit
_PLACES = frozenset({"city", "country", "landmark", "state"})  # what is asked of one says little about another


@dataclass(frozen=True)
class _Matcher:
    """One pattern as an expression over normalised words."""

    relation: Relation
    shape: re.Pattern[str]
    literal: int  # characters outside the subject: the more, the more specific


@dataclass(frozen=True)
class _Match:
    """A relation, the subject asked for in normalised words, and the bank's fact about it if there is one."""

    relation: Relation
    subject: str
    fact: BankFact | None
    literal: int


def _shape(text: str, hole: str) -> tuple[re.Pattern[str], int]:
    head, tail = (normalised(part).strip() for part in text.split(hole))
    return re.compile(rf"^{re.escape(head)} ?(?P<hole>\S.*?) ?{re.escape(tail)}$"), len(head) + len(tail)


@cache
def _matchers() -> tuple[_Matcher, ...]:
    return tuple(
        _Matcher(relation, *_shape(pattern.text, "{s}"))
        for relation in relations()
        for pattern in (*relation.train, *relation.judge)
    )


@cache
def _frames() -> tuple[re.Pattern[str], ...]:
    return tuple(_shape(text, "{p}")[0] for text in (*wrappers().train, *wrappers().judge))


def relation_of(prompt: str, answer: str | None = None) -> tuple[Relation, str] | None:
    """The bank relation that a prompt asks for, and its subject as the bank writes it, else as the prompt does.

    A subject that the bank does not know is accepted where a pattern fits and a name stands in its hole, so that "What
    is the capital of Ruritania?" finds its neighbours too. Of several patterns, one whose bank fact has the given
    answer wins, then one whose subject the bank knows, then the most specific. A prompt outside all patterns is still
    recognised where it names a subject and a cue of a relation, and the answer given is the one that the bank knows.
    A longer name is not taken for the one inside it ("Windows Phone 7" is not Windows) where capitals tell.
    """
    fits = [match for words in _wordings(prompt) for match in _matches(words, prompt)]

    def rank(match: _Match) -> tuple[bool, bool, int]:
        return match.fact is not None and _agrees(match.fact, answer), match.fact is not None, match.literal

    best = max(fits, key=rank, default=None)
    if best is None or best.fact is None:
        best = _by_cue(prompt, answer) or best
    if best is None:
        return None
    return best.relation, best.fact.subject if best.fact else spelled(prompt, best.subject)


def kindred(prompt: str, answer: str) -> Relation | None:
    """The relation whose facts are most like what a prompt asks for: it has this answer, and most of its cues in it."""
    words = normalised(prompt)
    found = [
        (sum(normalised(cue) in words for cue in relation.cues), relation)
        for relation in relations()
        if any(_agrees(fact, answer) for fact in relation.facts)
    ]
    cues, best = max(found, key=lambda item: item[0], default=(0, None))
    return best if cues else None


def _wordings(prompt: str) -> list[str]:
    """The prompt in normalised words, also without contractions, possessives or a frame around it."""
    words = normalised(re.sub(r"\b(what|who|where|when)['’]s\b", r"\1 is", prompt, flags=re.IGNORECASE)).strip()
    found = [words, *(match["hole"] for frame in _frames() if (match := frame.match(words)))]
    found += [re.sub(r"\b(is|was|me|name) (\S.*?) s (\S.*)$", r"\1 the \3 of \2", text) for text in found]
    return list(dict.fromkeys(found))


def _matches(words: str, prompt: str) -> list[_Match]:
    found = []
    for matcher in _matchers():
        match = matcher.shape.match(words)
        if match and len(match["hole"].split()) <= _LONGEST_SUBJECT:
            relation, fact = matcher.relation, matcher.relation.fact_about(match["hole"])
            places = kinds_of(match["hole"]) & _PLACES if relation.subject_kind in _PLACES else frozenset()
            name = match["hole"] if fact else name_of(match["hole"], prompt)
            if name and (fact or not places or relation.subject_kind in places):
                found.append(_Match(relation, name, fact, matcher.literal))
    return found


def _agrees(fact: BankFact, answer: str | None) -> bool:
    return answer is not None and bare(answer) in {bare(known) for known in fact.answers}


def _by_cue(prompt: str, answer: str | None) -> _Match | None:
    """The relation with a fact whose subject, cue and answer agree; the longest subject wins."""
    words = normalised(prompt)
    found = [
        _Match(relation, fact.subject, fact, len(fact.subject))
        for relation in relations()
        if any(normalised(cue) in words for cue in relation.cues)
        for fact in relation.facts
        if _agrees(fact, answer) and f" {bare(fact.subject)} " in words and stands_alone(prompt, fact.subject)
    ]
    return max(found, key=lambda match: match.literal, default=None)
