"""The little English grammar that rephrasing needs: verb forms, participles, and where a noun phrase ends."""

import re
from collections.abc import Sequence

BE = frozenset({"is", "are", "was", "were"})
DO = frozenset({"do", "does", "did"})
MODALS = frozenset({"can", "could", "will", "would", "should", "must", "has", "have", "had"})
_SMALL = "of in on at by for from to with as about into under over near after before"
PREPOSITIONS = frozenset(_SMALL.split())
PRONOUNS = frozenset({"i", "you", "he", "she", "it", "we", "they", "this", "that", "these", "those", "there"})


# base, past, participle
_IRREGULAR = """
become became become, begin began begun, bear bore born, break broke broken, bring brought brought, build built built,
buy bought bought, catch caught caught, choose chose chosen, come came come, cost cost cost, draw drew drawn,
drink drank drunk, drive drove driven, eat ate eaten, fall fell fallen, feed fed fed, feel felt felt,
fight fought fought, find found found, flow flowed flowed, fly flew flown, forget forgot forgotten, get got got,
give gave given, go went gone, grow grew grown, hang hung hung, have had had, hear heard heard, hide hid hidden,
hit hit hit, hold held held, keep kept kept, know knew known, lay laid laid, lead led led, leave left left,
lend lent lent, lie lay lain, lose lost lost, make made made, mean meant meant, meet met met, pay paid paid,
put put put, read read read, ride rode ridden, ring rang rung, rise rose risen, run ran run, say said said,
see saw seen, sell sold sold, send sent sent, set set set, shoot shot shot, show showed shown, sing sang sung,
sink sank sunk, sit sat sat, sleep slept slept, speak spoke spoken, spend spent spent, spread spread spread,
stand stood stood, steal stole stolen, swim swam swum, take took taken, teach taught taught, tell told told,
think thought thought, throw threw thrown, understand understood understood, wear wore worn, win won won,
write wrote written
"""
_REGULAR = """
achieve act adopt affect allow announce appear argue arrive assassinate attack attend belong boil border call carry
cause celebrate change climb close coach collapse compete complete compose conquer contain contribute control convert
cook cover create cross cure declare defeat define deliver depend describe design destroy develop die differ direct
discover divide dream earn educate emigrate employ end enter escape establish exist expand explain explore express
extend fail filter form formulate found free function gain govern graduate handle happen help host improve include
inspire introduce invade invent invest join kill land last launch learn lecture live locate love manage manufacture
marry measure melt migrate move name need nominate occur offer open operate oppose orbit order own paint patent perform
play pray predict present produce propose prove publish pump reach receive record refer reign release remain represent
require retire return reveal revolve rule sail save score serve settle shape share sign sculpt solve start star stay
stop store study succeed suffer support surrender survive train transport translate travel treat try turn use visit
vote walk want warn watch weigh work worry worship
"""
_DOUBLING = {"stop": "stopped", "star": "starred", "admit": "admitted", "ban": "banned", "plan": "planned"}
_NOT_VERBS = frozenset({"left", "long", "free"})  # of these forms another reading is the likelier one
_TRIPLES = [tuple(row.split()) for row in _IRREGULAR.replace("\n", " ").split(",")]


def _regular_past(base: str) -> str:
    if base in _DOUBLING:
        return _DOUBLING[base]
    if base.endswith("e"):
        return f"{base}d"
    return f"{base[:-1]}ied" if re.search(r"[^aeiou]y$", base) else f"{base}ed"


def third(base: str) -> str:
    """ "write" to "writes"."""
    if base == "have":
        return "has"
    if re.search(r"[^aeiou]y$", base):
        return f"{base[:-1]}ies"
    return f"{base}es" if re.search(r"(?:s|sh|ch|x|z|o)$", base) else f"{base}s"


_PAST = {base: _regular_past(base) for base in _REGULAR.split()} | {base: past for base, past, _ in _TRIPLES}
BASES = frozenset(_PAST)
PASTS = frozenset(_PAST.values()) - _NOT_VERBS
THIRDS = frozenset(map(third, BASES))
PARTICIPLES = frozenset(
    {_regular_past(base) for base in _REGULAR.split()}
    | {participle for *_, participle in _TRIPLES}
    | {"born", "based", "headquartered", "located", "situated", "nicknamed", "buried", "titled"}
) - {"come", "set", "put", "run", "cost", "become", "read", "hit", "spread", "left"}
_MADE = """
compose create design develop direct discover establish found invent paint publish produce sculpt launch assassinate
kill formulate record
"""
# the past that "Who …?" asks with, to the participle of "… was … by"
TRANSITIVE = {past: past for past in map(_regular_past, _MADE.split())} | {
    "wrote": "written",
    "built": "built",
    "sang": "sung",
    "drew": "drawn",
    "led": "led",
    "taught": "taught",
    "shot": "shot",
    "stole": "stolen",
}


def inflected(base: str, aux: str) -> str:
    """A verb after its do is gone: "did write" to "wrote"."""
    return {"did": _PAST[base], "does": third(base)}.get(aux, base)


def raised(text: str) -> str:
    """With a capital at the start, unless the first word has its own ("iPhone")."""
    return text if re.match(r"[a-z]+[A-Z]", text) else text[:1].upper() + text[1:]


def lowered(phrase: str) -> str:
    """A phrase from the start of a sentence, as it stands inside one."""
    starts_small = re.match(r"(?:The|A|An|My|Your|His|Her|Our|Their|Its) (?![A-Z])", phrase)
    return phrase[0].lower() + phrase[1:] if starts_small else phrase


def undone(words: Sequence[str], aux: str) -> tuple[str, str, str] | None:
    """Subject, inflected verb and rest of what follows do, does or did; None where no known verb follows a subject.

    The subject takes at least one word, and one more after an article: "the play end" is about a play.
    """
    first = 2 if words and words[0].casefold() in ("the", "a", "an", "my", "your", "most", "some") else 1
    if not words or words[0].casefold() in PRONOUNS:
        return None
    for n in range(first, len(words)):
        if words[n] in BASES:
            return " ".join(words[:n]), inflected(words[n], aux), " ".join(words[n + 1 :])
    return None


def predicated(words: Sequence[str]) -> tuple[str, str] | None:
    """Noun phrase and predicate of what follows a form of be, split at its only participle ("Einstein | born in
    Ulm"); the predicate is empty without one. None where two participles leave it open which is the predicate."""
    found = [n for n in range(1, len(words)) if words[n] in PARTICIPLES]
    if len(found) > 1 or (words and words[0].casefold() in PRONOUNS):
        return None
    cut = found[0] if found else len(words)
    return " ".join(words[:cut]), " ".join(words[cut:])


def sentence(*parts: str) -> str:
    """Parts that are not empty, a space apart."""
    return " ".join(part for part in parts if part)
