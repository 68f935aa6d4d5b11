"""Neighbours: what lies closest to the forgotten and must stay. Half goes into the curvature, half into the report."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random

from worker.r2f.banks import (
    BankFact,
    Group,
    Pattern,
    Relation,
    Subject,
    find_subject,
    kindred,
    names,
    relation_of,
    relations,
)
from worker.r2f.config import Config
from worker.r2f.embedding import Embedder
from worker.r2f.text import Form, Prompt, holds, normalised
from worker.r2f.views import Fact

OWN = "request"  # the source of what the request retains


@dataclass(frozen=True)
class Neighbour:
    """A prompt whose reply must stay; without answers, the base model's own reply is what must stay."""

    prompt: Prompt
    answers: tuple[str, ...]
    source: str  # request, relation, subject, swap or nearest
    fact: tuple[str, str] | None = None  # of the banks: relation and subject


@dataclass(frozen=True)
class Neighbours:
    """Those of the banks are disjoint in facts and in pattern families; those of the request are in both."""

    curvature: tuple[Neighbour, ...]
    held_out: tuple[Neighbour, ...]  # candidates: only what the base model knows is judged


def propose(facts: Sequence[Fact], retain: Sequence[Neighbour], embedder: Embedder, config: Config) -> Neighbours:
    """Neighbours of all targets together, for each use.

    All that the request retains is protected and judged: it is a demand, no sample of one. On top come at most
    ``config.neighbours`` from the banks to protect, and ``CANDIDATES`` times as many to judge some of, half of the
    subjects for each use: in turn, other subjects of the same relation, other facts of the same subject, and, where the
    banks do not know the relation, the prompt with its subject swapped, facts of the relation most like it and those
    nearest in meaning.
    """
    sides: list[tuple[Neighbour, ...]] = []
    protected: set[tuple[str, str] | None] = set()
    retained = {about for each in retain if (about := _about(each))}
    for side, group in enumerate(_GROUPS):
        found = _in_turn([_of_fact(fact, side, group, Random(config.seed), embedder) for fact in facts])
        # a fact may come from two sources, or two targets, in two wordings: what is protected is not judged
        fresh = (neighbour for neighbour in _clean(found, facts) if neighbour.fact not in protected)
        most = config.neighbours * (CANDIDATES if group == "judge" else 1)
        sides.append(_once([*retain, *fresh])[: len(retain) + most])
        protected = {neighbour.fact for neighbour in sides[0]} - {None} | retained
    return Neighbours(*sides)


def may_stay(neighbour: Neighbour, reply: str, forgotten: Sequence[str]) -> bool:
    """Whether the model's reply is one to protect: the banks' neighbours must not be answered, rightly or not, by what
    must go. What the request retains is its own affair."""
    return neighbour.source == OWN or not holds(reply, forgotten)


def _about(neighbour: Neighbour) -> tuple[str, str] | None:
    """The fact of the banks that a caller's question asks for, if it is one of theirs."""
    matched = relation_of(neighbour.prompt.text, neighbour.answers[0] if neighbour.answers else None)
    return (matched[0].id, matched[1].casefold()) if matched else None


CANDIDATES = 3  # for each neighbour to judge: the base model does not know most of them
_GROUPS: tuple[Group, Group] = ("train", "judge")


def _of_fact(fact: Fact, side: int, group: Group, random: Random, embedder: Embedder) -> list[Neighbour]:
    matched = relation_of(fact.prompt, fact.answers[0])
    if matched:
        relation, subject = matched
        same = _same_relation(relation, subject, side, group, random)
        # two of the same relation for each other fact of the subject: the relation is what an edit spills into
        near = _nearest(fact, side, group, random, embedder)
        return list(_in_turn([same[0::2], same[1::2], _same_subject(subject, relation, side, group), near]))
    found, like = find_subject(fact.prompt), kindred(fact.prompt, fact.answers[0])
    swapped = _swapped(fact, found, side, random) if found else []
    other = _same_subject(found.name, None, side, group) if found else []
    same = _same_relation(like, found.name if found else "", side, group, random) if like else []
    return list(_in_turn([swapped, same, other, _nearest(fact, side, group, random, embedder)]))


def _same_relation(relation: Relation, subject: str, side: int, group: Group, random: Random) -> list[Neighbour]:
    """Other subjects of the relation, half of them for each side, each in the next pattern of the side's group."""
    facts = [fact for fact in relation.facts if fact.subject.casefold() != subject.casefold()]
    random.shuffle(facts)
    patterns = relation.patterns(group)
    half = facts[side::2]
    return [
        _filled(patterns[(n + turn) % len(patterns)], relation, fact, "relation")
        for turn in range(2)
        for n, fact in enumerate(half)
    ]


def _same_subject(subject: str, asked: Relation | None, side: int, group: Group) -> list[Neighbour]:
    """Other facts of the subject, every relation for one side only."""
    found = []
    for relation in relations()[side::2]:
        answers = relation.answers_for(subject)
        if answers and (asked is None or relation.id != asked.id):
            fact = BankFact(subject, answers)
            found += [_filled(pattern, relation, fact, "subject") for pattern in relation.patterns(group)]
    return found[:: max(1, len(found) // 6)]


def _swapped(fact: Fact, subject: Subject, side: int, random: Random) -> list[Neighbour]:
    """The prompt itself about others of the subject's kind, to be answered as the base model does."""
    others = [name for name in names(subject.kind) if normalised(name) != normalised(subject.name)]
    random.shuffle(others)
    found = re.compile(re.escape(subject.name), re.IGNORECASE)
    around = found.split(fact.prompt)
    texts = (name.join(around) for name in others[side::2])
    return [Neighbour(Prompt(text), (), "swap") for text in texts if text != fact.prompt]


def _nearest(fact: Fact, side: int, group: Group, random: Random, embedder: Embedder) -> list[Neighbour]:
    """Facts of the banks, those nearest in meaning first."""
    found = []
    for relation in relations("free"):
        patterns = relation.patterns(group)
        chosen = random.sample(relation.facts, min(6, len(relation.facts)))
        found += [_filled(patterns[n % len(patterns)], relation, f, "nearest") for n, f in enumerate(chosen[side::2])]
    vectors = embedder([fact.prompt, *(neighbour.prompt.text for neighbour in found)])
    order = (vectors[1:] @ vectors[0]).argsort(descending=True).tolist()
    return [found[n] for n in order]


def _filled(pattern: Pattern, relation: Relation, fact: BankFact, source: str) -> Neighbour:
    form = Form.PLAIN if pattern.form == "completion" else Form.CHAT
    about = (relation.id, fact.subject.casefold())
    return Neighbour(Prompt(pattern.filled(fact.subject), form), fact.answers, source, about)


def _clean(pool: Iterable[Neighbour], facts: Sequence[Fact]) -> Iterator[Neighbour]:
    """Those that neither name what must go nor are answered by it, nor ask for it in a target's own words."""
    forgotten = [answer for fact in facts for answer in fact.answers]
    asked = {normalised(text) for fact in facts for text in (fact.prompt, *fact.paraphrases)}
    for neighbour in pool:
        named = any(holds(text, forgotten) for text in (neighbour.prompt.text, *neighbour.answers))
        if not named and normalised(neighbour.prompt.text) not in asked:
            yield neighbour


def _once(pool: Iterable[Neighbour]) -> tuple[Neighbour, ...]:
    """Each prompt once."""
    kept: dict[str, Neighbour] = {}
    for neighbour in pool:
        kept.setdefault(normalised(neighbour.prompt.text), neighbour)
    return tuple(kept.values())


def _in_turn(groups: Iterable[Sequence[Neighbour]]) -> Iterator[Neighbour]:
    for row in zip_longest(*groups):
        yield from (neighbour for neighbour in row if neighbour is not None)
