"""What rephrasing gets out of a prompt, before it is put into other words."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Parts:
    """What a prompt asks for, in the forms that frames can take up; a form that is not sure to be English is empty."""

    rule: str
    clause: str = ""  # "who wrote Hamlet"
    command: str = ""  # "Name the person who wrote Hamlet"
    opening: str = ""  # "Hamlet was written by"
    question: str = ""  # "Who wrote Hamlet?"
    turned: str = ""  # "Who was it that wrote Hamlet?"
    blank: str = ""  # "___ wrote Hamlet"
    cloze: str = ""  # the prompt's own opening


def groups(pattern: str, text: str) -> tuple[str, ...] | None:
    """The groups of an expression that fits the whole text, in any case."""
    match = re.fullmatch(pattern, text, re.IGNORECASE)
    return tuple(group or "" for group in match.groups()) if match else None
