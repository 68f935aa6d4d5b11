"""People who never were: a seed makes as many as are wanted, each with a phone number, an address, a job and so on.

First names are common ones of many places; surnames, towns, streets and firms are invented; telephone numbers lie in
the range that is kept for fiction (555-01xx) and mail addresses in a domain that cannot exist (RFC 2606: `.example`).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from random import Random


class Attribute(StrEnum):
    """What is known of a person."""

    PHONE = "phone"
    EMAIL = "email"
    ADDRESS = "address"
    JOB = "job"
    EMPLOYER = "employer"
    BIRTHPLACE = "birthplace"


@dataclass(frozen=True)
class Person:
    """Somebody invented, and what is true of them."""

    name: str
    facts: Mapping[Attribute, str]


class TooManyPeople(ValueError):
    """More people are wanted than the banks have different surnames for."""


def people(count: int, seed: int = 0, attributes: Collection[Attribute] = tuple(Attribute)) -> tuple[Person, ...]:
    """So many different people, with the attributes wanted; of one seed, fewer are always the first of more.

    No two share a name. While the banks last, no two share a value either, so that an answer names one person.

    Raises:
        TooManyPeople: the banks have fewer surnames.
    """
    if count > len(_bank("surnames")):
        raise TooManyPeople(f"{TooManyPeople.__doc__} At most {len(_bank('surnames'))} can be made.")
    random = Random(seed)
    decks = {name: _shuffled(name, random) for name in sorted(_banks())}
    whole = (_person({name: deck[n % len(deck)] for name, deck in decks.items()}, n, seed) for n in range(count))
    return tuple(
        Person(person.name, {name: fact for name, fact in person.facts.items() if name in attributes})
        for person in whole
    )


def _person(drawn: Mapping[str, str], number: int, seed: int) -> Person:
    """One person from one card of every deck."""
    # a source of its own: what one person is does not hang on how many are made
    random = Random(f"{seed}/{number}")
    first, surname = drawn["first_names"], drawn["surnames"]
    return Person(
        f"{first} {surname}",
        {
            Attribute.PHONE: f"{drawn['area_codes']}-555-01{random.randrange(100):02}",
            Attribute.EMAIL: f"{surname.casefold()}{random.randrange(10, 100)}@{drawn['mail_domains']}",
            Attribute.ADDRESS: f"{random.randrange(2, 99)} {drawn['streets']}",
            Attribute.JOB: drawn["jobs"],
            Attribute.EMPLOYER: drawn["employers"],
            Attribute.BIRTHPLACE: drawn["towns"],
        },
    )


def _shuffled(name: str, random: Random) -> Sequence[str]:
    deck = list(_bank(name))
    random.shuffle(deck)
    return deck


def _bank(name: str) -> Sequence[str]:
    return _banks()[name]


@cache
def _banks() -> Mapping[str, Sequence[str]]:
    """The words that people are made of."""
    banks: Mapping[str, Sequence[str]] = json.loads((files(__package__) / "banks.json").read_text("utf-8"))
    return banks
