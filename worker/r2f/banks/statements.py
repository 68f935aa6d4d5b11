"""Commands, indirect questions and clozes taken apart, one shape a function; None where a prompt has another shape."""

import re

from worker.r2f.banks.grammar import BE, PARTICIPLES, PASTS, THIRDS, lowered, raised
from worker.r2f.banks.parts import Parts, groups

_PERSON = re.compile(
    r"\b(?:author|writer|playwright|painter|artist|composer|director|founder|inventor|president|king|queen|emperor|leader"
    r"|prime minister|ceo|person|man|woman|wife|husband|mother|father|captain|actor|actress|singer|poet|discoverer"
    r"|scientist|owner|doctor|teacher|boss|manager|protagonist|main character)s?$",
    re.IGNORECASE,
)


def indirect(text: str) -> Parts | None:
    """Tell me what NP is. I would like to know who VP. Do you know where NP is?"""
    found = groups(
        r"(?:(?:can|could|would|will) you (?:please )?tell me|do you (?:know|remember)|tell me|remind me|explain|state"
        r"|say|i(?: would|['’]d)? (?:like|want|need) to know|i wonder) ((who|what|where|when|which|why|how)\b.+?)[.?]?",
        text,
    )
    if not found or re.search(r"\b(?:who|what|where|when|which|why|how) (?:is|are|was|were|do|does|did)\b", found[0]):
        return None  # a verb straight after its question word: another question than it seems, or who VP
    clause = found[0]
    tail = re.fullmatch(r"(what|who|where) (.+) (is|are|was|were)", clause)
    question = f"{raised(tail[1])} {tail[3]} {tail[2]}?" if tail else ""
    verb = re.fullmatch(r"who (\w+) .+", clause)
    return Parts("indirect", clause, question=f"{raised(clause)}?" if verb and _finite(verb[1]) else question)


def _finite(word: str) -> bool:
    return word in PASTS | THIRDS


def command(text: str) -> Parts | None:
    """Name NP. Tell me NP. Name the N that VP."""
    found = groups(r"(?:name|tell me|give me|give|state|say|identify) (the .+?)\.?", text)
    if not found:
        return None
    np = found[0]
    person = groups(r"the person who (.+)", np)
    if person:
        return Parts("name_who", f"who {person[0]}", question=f"Who {person[0]}?")
    relative = groups(r"the (\w+) (?:that|which) ((\w+) .+)", np)
    if relative and (_finite(relative[2]) or relative[2] in BE):
        return Parts("name_which", f"which {relative[0]} {relative[1]}", question=f"Which {relative[0]} {relative[1]}?")
    if re.search(r" (?:that|which|who|whom|whose|where|when|and) ", np):
        return None
    wh, be = _asked(np)
    question = f"{raised(wh)} {be} {np}?"
    return Parts("name_np", f"{wh} {np} {be}", "", f"{raised(np)} {be}", question, blank=f"___ {be} {np}")


def _asked(np: str) -> tuple[str, str]:
    """The question word and the form of be that go with a noun phrase."""
    head = re.split(r" (?:of|in|for|to|from|by|on) ", np)[0]
    plural = re.search(r"(?<!ss)(?<!us)(?<!is)s$", head) is not None and not head[:1].isupper()
    return "who" if _PERSON.search(head) else "what", "are" if plural else "is"


def cloze(text: str) -> Parts | None:
    """An opening to be continued: "The Mona Lisa was painted by", "The capital of France is ___." """
    if re.search(r"(?:_{2,}|\.{3}|…)", text):
        text, blank, after = re.split(r"(\s*(?:_{2,}|\.{3}|…))", text, maxsplit=1)
        if after.strip(" .") or not blank:
            return None
    text = text.rstrip()
    if re.search(r"[.!?:;,]$", text) or len(text.split()) < 3 or not text[:1].isupper():
        return None
    by = groups(r"(.+) (is|was|are|were) (\w+) by", text)
    if by and by[2] in PARTICIPLES:
        np = lowered(by[0])
        return Parts(
            "cloze_by",
            f"who {np} {by[1]} {by[2]} by",
            question=f"Who {by[1]} {np} {by[2]} by?",
            turned=f"By whom {by[1]} {np} {by[2]}?",
            cloze=text,
        )
    located = groups(r"(.+) (is|are) located in", text)
    if located:
        np, be = lowered(located[0]), located[1]
        return Parts("cloze_where", f"where {np} {be}", question=f"Where {be} {np} located?", cloze=text)
    is_np = groups(r"(.+) (is|are|was|were)", text)
    if is_np and re.match(r"(?:the|my|your|his|her|our|their) |(?:\S+ ){0,3}\S+['’]s ", is_np[0], re.IGNORECASE):
        np = lowered(is_np[0])
        if not re.search(r" (?:that|which|who|whom|whose|where|when|and) ", np):
            wh, _ = _asked(np)
            return Parts("cloze_is", f"{wh} {np} {is_np[1]}", question=f"{raised(wh)} {is_np[1]} {np}?", cloze=text)
    return Parts("cloze", cloze=text) if _ENDS_OPEN.search(text) else None


_ENDS_OPEN = re.compile(
    r"\b(?:is|was|are|were|by|in|at|on|of|from|to|for|the|a|an|as|called|named|wrote|invented|discovered|founded|painted"
    r"|composed|directed|with|has|have|had|than|and)$"
)
