"""Questions taken apart, one shape a function; None where a question has another shape or might break."""

import re

from worker.r2f.banks.grammar import (
    BASES,
    BE,
    DO,
    MODALS,
    PARTICIPLES,
    PASTS,
    PREPOSITIONS,
    PRONOUNS,
    THIRDS,
    TRANSITIVE,
    predicated,
    raised,
    sentence,
    undone,
)
from worker.r2f.banks.parts import Parts, groups

_STRANDED = re.compile(
    r"^(?P<np>.+?) (?P<pred>(?P<verb>called|named|nicknamed|(?:best |also |widely )?(?:\w+ed|known|made|born|written"
    r"|built|drawn|sung|spoken|famous|responsible)(?: (?:by|as|for|of|from|in|to|with|at|on|after)))|from|about|worth)$"
)
_DETERMINERS = frozenset({"the", "a", "an", "your", "my", "his", "her", "its", "our", "their"})
_TIMES = frozenset({"year", "day", "month", "century", "decade", "date", "season", "time"})
_ATTRIBUTES = frozenset({"color", "colour", "size", "shape", "age", "nationality", "religion", "gender", "breed"})
_PLACES = frozenset({"country", "city", "town", "state", "continent", "ocean", "region", "museum", "place", "province"})
_MEASURES = {
    "tall": "height", "high": "height", "old": "age", "long": "length", "deep": "depth", "wide": "width",
    "heavy": "weight", "big": "size", "large": "size", "fast": "speed",
}  # fmt: skip


def _what_is(text: str) -> Parts | None:
    """What is NP? Who was NP? What is NP called? Who is known as …?"""
    found = groups(r"(what|who) (is|are|was|were) (.+)", text)
    if not found:
        return None
    wh, be, rest = found[0].lower(), found[1].lower(), found[2]
    words = rest.split()
    if words[0].lower() in PRONOUNS or re.match(r"\w{2,}ing\b|wrong\b|new\b|up\b|happen", rest):
        return None
    bare_role = wh == "who" and words[0].islower() and words[0] not in _DETERMINERS
    if words[0] in PARTICIPLES or words[0] in ("responsible", "famous", "best", "also") or bare_role:
        command = f"Name the person who {be} {rest}" if wh == "who" else ""
        return Parts("who_is_known", f"{wh} {be} {rest}", command)
    stranded = _STRANDED.match(rest)
    if stranded:
        np, pred, verb = stranded["np"], stranded["pred"], stranded["verb"] or ""
        agent = wh == "who" and verb.endswith(" by")
        command = f"Name the person by whom {np} {be} {verb.removesuffix(' by')}" if agent else ""
        turned = f"By whom {be} {np} {verb.removesuffix(' by')}?" if agent else ""
        return Parts("what_is_called", f"{wh} {np} {be} {pred}", command, f"{raised(np)} {be} {pred}", turned=turned)
    if words[-1] in PREPOSITIONS or len(words) > 14:
        return None
    definite = re.match(r"(?:the|your|my|his|her|its|our|their) |(?:\S+ ){0,3}\S+['’]s ", rest, re.IGNORECASE)
    command = (f"Name {rest}" if wh == "who" else f"Tell me {rest}") if definite else ""
    winding = re.search(r" (?:that|which|who|whose|where|when) ", rest)
    blank = f"___ {be} {rest}" if definite else ""
    return Parts(f"{wh}_is", "" if winding else f"{wh} {rest} {be}", command, f"{raised(rest)} {be}", blank=blank)


def _who(text: str) -> Parts | None:
    """Who VP?"""
    found = groups(r"who (\w+) (.+)", text)
    if not found:
        return None
    verb, rest = found[0].lower(), found[1]
    if verb in DO:
        split = undone(rest.split(), verb)
        words = sentence(*split) if split else ""
        return Parts("who_did", f"who {words}", f"Name the person that {words}") if split else None
    if verb not in PASTS | THIRDS | MODALS:
        return None
    simple = not re.search(r" (?:in|after|during|for|on|at|with|from|to) (?![A-Z])| in \d", f" {rest}")
    plural = re.search(r"[^s'’]s$", rest) and rest[0].islower()
    passive = verb in TRANSITIVE and simple and not plural and " and " not in rest
    return Parts(
        "who",
        f"who {verb} {rest}",
        f"Name the person who {verb} {rest}",
        f"{raised(rest)} was {TRANSITIVE[verb]} by" if passive else "",
        turned=f"Who was it that {verb} {rest}?" if verb in PASTS else "",
        blank=f"___ {verb} {rest}" if verb in PASTS else "",
    )


def _which(text: str) -> Parts | None:
    """Which N VP? What N is NP in? Which N did NP VP?"""
    found = groups(r"(which|what) (.+)", text)
    if not found:
        return None
    wh, words = found[0].lower(), found[1].split()
    cut = next((n for n, word in enumerate(words) if word in BE | DO | MODALS | PASTS | THIRDS), 0)
    noun, verb, rest = " ".join(words[:cut]), words[cut], words[cut + 1 :]
    if not 1 <= cut <= 3 or not rest or not re.fullmatch(r"[a-z -]+", noun):
        return None
    kind = re.search(r"\b(?:kind|type|sort) of\b", noun)
    if verb in DO:
        split = undone(rest, verb)
        if not split:
            return None
        relative = {"time": "at which", "day": "on which", "date": "on which"}.get(noun, "in which")
        relative = relative if noun in _TIMES else "that"
        return Parts("which_did", f"{wh} {noun} {sentence(*split)}", f"Name the {noun} {relative} {sentence(*split)}")
    if verb in BE and (_inverted(rest) or noun in _ATTRIBUTES):
        return _which_be(f"{wh} {noun}", noun, verb, rest)
    tail = f"{verb} {' '.join(rest)}"
    single = not noun.endswith("s") and verb in {"is", "has", "was"} | THIRDS
    return Parts(
        "which",
        f"{wh} {noun} {tail}",
        "" if kind else f"Name the {noun} that {tail}",
        f"The {noun} that {tail} is" if single and not kind else "",
    )


def _inverted(rest: list[str]) -> bool:
    """Whether a noun phrase follows the verb ("is | Paris in") and not a predicate ("is | the largest")."""
    if rest[0] in PARTICIPLES or not (rest[0][0].isupper() or rest[0] in ("the", "a", "an")):
        return False
    return rest[-1] in PREPOSITIONS or rest[-1] in PARTICIPLES or rest[0] != "the"


def _which_be(wh: str, noun: str, be: str, rest: list[str]) -> Parts | None:
    """Which country is Paris in? Which year was the treaty signed? What kind of animal is a whale?"""
    stranded = rest[-1] if rest[-1] in PREPOSITIONS else ""
    split = predicated(rest[:-1] if stranded else rest)
    if not split:
        return None
    np, pred = split[0], sentence(split[1], stranded)
    clause, opening = sentence(wh, np, be, pred), sentence(raised(np), be, pred)
    if stranded:
        return Parts("which_is_in", clause, f"Name the {noun} that {sentence(np, be, pred)}", opening)
    if pred and noun in _TIMES | _PLACES:
        return Parts("which_was_done", clause, f"Name the {noun} in which {np} {be} {pred}", f"{opening} in the {noun}")
    return Parts("which_is", clause)


def _where_when(text: str) -> Parts | None:
    """Where is NP? When was NP signed? Where did NP VP? Why does NP VP?"""
    found = groups(r"(where|when|why|how|what) (is|are|was|were|do|does|did) (.+)", text)
    if not found:
        return None
    wh, verb, words = found[0].lower(), found[1].lower(), found[2].split()
    if verb in DO:
        split = undone(words, verb)
        if not split:
            return None
        ends = wh == "when" and verb == "did" and not split[2]
        stranded = wh == "what" and (not split[2] or split[2] in PREPOSITIONS)
        opening = raised(sentence(*split)) if ends or stranded else ""
        return Parts(f"{wh}_did", f"{wh} {sentence(*split)}", opening=f"{opening} in the year" if ends else opening)
    if wh not in ("where", "when"):
        return None
    if words[-1] in PREPOSITIONS:  # Where is pizza from?
        return Parts(f"{wh}_is", f"{wh} {' '.join(words[:-1])} {verb} {words[-1]}")
    split_be = predicated(words)
    if not split_be:
        return None
    np, pred = split_be
    opening = ""
    if wh == "when" and verb in ("was", "were") and pred in PARTICIPLES:
        opening = f"{raised(np)} {verb} {pred} in the year"
    elif wh == "where" and pred in ("located", "situated", "based", "headquartered", "buried"):
        opening = f"{raised(np)} {verb} {pred} in"
    elif wh == "where" and not pred and verb == "is" and re.match(r"the |[A-Z]", np):
        opening = f"{raised(np)} is located in"
    return Parts(f"{wh}_is", f"{wh} {sentence(np, verb, pred)}", opening=opening)


def _what_verb(text: str) -> Parts | None:
    """What causes earthquakes?"""
    found = groups(r"what (\w+) (.+)", text)
    if not found or found[0].lower() not in THIRDS | PASTS:
        return None
    return Parts("what", f"what {found[0].lower()} {found[1]}")


def _how_many(text: str) -> Parts | None:
    """How many N are in NP? How many N does NP VP? How many N VP?"""
    found = groups(r"how (many|much) (.+)", text)
    if not found:
        return None
    words = found[1].split()
    cut = next((n for n, word in enumerate(words) if word in BE | DO | MODALS | PASTS | BASES), 0)
    noun, verb, rest = " ".join(words[:cut]), words[cut], words[cut + 1 :]
    how = f"how {found[0].lower()} {noun}"
    if not 1 <= cut <= 3 or not rest:
        return None
    if verb in DO:
        split = undone(rest, verb)
        if not split:
            return None
        number = f"Tell me the number of {noun} that {sentence(*split)}" if found[0].lower() == "many" else ""
        return Parts("how_many_did", f"{how} {sentence(*split)}", number)
    if verb in BE and rest[0] == "there":
        return Parts("how_many_there", sentence(how, "there", verb, *rest[1:]))
    if (verb in BE and rest[0] not in PREPOSITIONS | PARTICIPLES) or verb in MODALS:
        return None
    return Parts(
        "how_many", f"{how} {verb} {' '.join(rest)}", f"Tell me the number of {noun} that {verb} {' '.join(rest)}"
    )


def _how_measure(text: str) -> Parts | None:
    """How tall is NP?"""
    found = groups(rf"how ({'|'.join(_MEASURES)}) (is|are|was|were) (.+)", text)
    if not found or found[2].split()[0].lower() in PRONOUNS or found[2].split()[-1] in PREPOSITIONS:
        return None
    how, be, np = found[0].lower(), found[1].lower(), found[2]
    return Parts("how_measure", f"how {how} {np} {be}", f"Tell me the {_MEASURES[how]} of {np}")


def _how_to(text: str) -> Parts | None:
    """How do I VP?"""
    found = groups(r"how (?:do|can|should|could) (i|you|we|one) ((?!feel|know|think|do|like|help|work)\w+.*)", text)
    if not found or (found[0].lower() == "we" and "know" in text) or found[1].split()[0] in PRONOUNS:
        return None
    return Parts("how_to", f"how to {found[1]}", f"Explain how to {found[1]}")


def _in_which(text: str) -> Parts | None:
    """In which N is NP? In what N did NP VP? By whom was NP written?"""
    found = groups(
        r"(in|on|at|from|to|for|by|with|under|during) (which|what|whom)(?: ([a-z -]+?))?"
        r" (is|are|was|were|do|does|did) (.+)",
        text,
    )
    if not found:
        return None
    prep, wh, noun, verb, words = found[0].lower(), found[1].lower(), found[2], found[3].lower(), found[4].split()
    asked = sentence(prep, wh, noun)
    split = undone(words, verb) if verb in DO else predicated(words)
    if not split or (wh != "whom" and not noun):
        return None
    done = sentence(split[0], split[1], split[2]) if len(split) == 3 else sentence(split[0], verb, split[1])
    if len(split) == 2 and not split[1] and noun in _PLACES:
        done = f"{done} located"
    antecedent, relative = ("person", "whom") if wh == "whom" else (noun, "which")
    after = {"whom": ""}.get(wh, f" the {noun}" if noun in _TIMES else f" the {noun} of" if noun in _PLACES else None)
    ends = done.split()[-1] in PARTICIPLES | PASTS | THIRDS | BASES
    return Parts(
        "in_which",
        f"{asked} {done}",
        f"Name the {antecedent} {prep} {relative} {done}",
        f"{raised(done)} {prep}{after}" if ends and after is not None and noun != "date" else "",
    )


QUESTIONS = (_how_to, _how_many, _how_measure, _in_which, _where_when, _what_is, _who, _what_verb, _which)
