"""The project's own banks: relations with facts and patterns, wrappers, generic prompts and names."""

from worker.r2f.banks.catalogue import (
    BankFact,
    GenericPrompts,
    Group,
    Pattern,
    Relation,
    Wrappers,
    generic,
    invented,
    names,
    relations,
    wrappers,
)
from worker.r2f.banks.entities import Subject, find_subject, names_missing, subject_span
from worker.r2f.banks.matching import kindred, relation_of

__all__ = [
    "BankFact",
    "GenericPrompts",
    "Group",
    "Pattern",
    "Relation",
    "Subject",
    "Wrappers",
    "find_subject",
    "generic",
    "invented",
    "kindred",
    "names",
    "names_missing",
    "relation_of",
    "relations",
    "subject_span",
    "wrappers",
]
