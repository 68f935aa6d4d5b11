"""Prompts, and whether a reply holds an answer."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_WORDS = re.compile(r"[^\W_]+")


class Form(StrEnum):
    """How a prompt is put to the model."""

    CHAT = "chat"  # as the user's turn of the model's chat template
    PLAIN = "plain"  # as bare text to be continued


@dataclass(frozen=True)
class Prompt:
    """A text and how it is put."""

    text: str
    form: Form = Form.CHAT


def normalised(text: str) -> str:
    """Words in lower case without accents or punctuation, one space apart and around."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return f" {' '.join(_WORDS.findall(bare))} "


def holds(reply: str, answers: Iterable[str]) -> bool:
    """Whether the reply holds one of the answers, as whole words of the normalised text."""
    words = normalised(reply)
    return any(normalised(answer) in words for answer in answers if normalised(answer).strip())


def find_answer(reply: str, answers: Iterable[str]) -> tuple[int, int] | None:
    """The earliest place of an answer in a reply, as character offsets; the longest of those that start there."""
    found: list[tuple[int, int]] = []
    for answer in answers:
        match = re.search(rf"(?<!\w){re.escape(answer.strip())}(?!\w)", reply, re.IGNORECASE)
        if match:
            found.append(match.span())
    return min(found, key=lambda span: (span[0], -span[1]), default=None)


def degenerate(reply: str) -> bool:
    """Whether a reply is empty or one repeated pattern: no more than a third of its trigrams differ."""
    words = normalised(reply).split()
    if not words:
        return True
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(trigrams) >= 12 and len(set(trigrams)) <= len(trigrams) // 3
