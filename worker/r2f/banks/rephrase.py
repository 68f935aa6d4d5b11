"""Rules that turn an English question or cloze into other forms, in disjoint families for training and judging."""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rephrasing:
    """A rephrased prompt, the group it belongs to (train or judge) and the rule that made it."""

    text: str
    family: str
    rule: str


@dataclass(frozen=True)
class _Rule:
    name: str
    shape: re.Pattern[str]
    train: tuple[str, ...]
    judge: tuple[str, ...]


def _rule(name: str, shape: str, train: tuple[str, ...], judge: tuple[str, ...]) -> _Rule:
    return _Rule(name, re.compile(shape, re.IGNORECASE), train, judge)


# the first shape that fits decides; \1, \2 … are its groups, and ^ raises the first letter
_RULES = (
    _rule(
        "what_is",
        r"what (?:is|are|was|were) (.+)\?$",
        (r"Tell me \1.", r"Name \1.", r"Can you tell me \1?"),
        (r"I would like to know \1.", r"Do you know \1?", r"Please remind me: \1?"),
    ),
    _rule(
        "who_is",
        r"who (is|was|are|were) (.+)\?$",
        (r"Tell me who \2 \1.", r"Can you tell me who \2 \1?"),
        (r"I would like to know who \2 \1.", r"Do you remember who \2 \1?"),
    ),
    _rule(
        "who",
        r"who (\w+) (.+)\?$",
        (r"Tell me who \1 \2.", r"Name the person who \1 \2.", r"Which person \1 \2?"),
        (r"I would like to know who \1 \2.", r"Do you know who \1 \2?", r"Please remind me who \1 \2."),
    ),
    _rule(
        "which",
        r"(?:which|what) (\w+) ((?:is|was|has|makes?|made|did|does|wrote|won|holds?|developed|owns?)\b.+)\?$",
        (r"Name the \1 that \2.", r"Tell me which \1 \2."),
        (r"I would like to know which \1 \2.", r"Do you know which \1 \2?"),
    ),
    _rule(
        "where",
        r"where (is|are) (.+)\?$",
        (r"Tell me where \2 \1.", r"Name the place where \2 \1."),
        (r"I would like to know where \2 \1.", r"Do you know where \2 \1?"),
    ),
    _rule(
        "where_when_did",
        r"(where|when) (was|were) (.+) (\w+(?:ed|rn|en|nt|ilt|old))\?$",
        (r"Tell me \1 \3 \2 \4.",),
        (r"I would like to know \1 \3 \2 \4.", r"Do you know \1 \3 \2 \4?"),
    ),
    _rule(
        "cloze",
        r"((?:\S+ ){2,}(?:is|was|are|were|by|in|at|of|the|named|called))$",
        (r"Complete the sentence: \1 ...", r"Continue: \1"),
        (r"Fill in the blank: \1 ___.", r"How does this sentence end? \1 ..."),
    ),
)


def rephrase(prompt: str) -> tuple[Rephrasing, ...]:
    """Other forms of a prompt; none where no rule is sure to stay grammatical."""
    for rule in _RULES:
        match = rule.shape.match(prompt.strip())
        if match:
            expand: Callable[[str], str] = match.expand
            groups = (("train", rule.train), ("judge", rule.judge))
            return tuple(Rephrasing(expand(form), group, rule.name) for group, forms in groups for form in forms)
    return ()
