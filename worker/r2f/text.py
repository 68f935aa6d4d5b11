"""Prompts, and whether a reply holds an answer."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

# Scripts that put no space between words: Thai, Lao, Burmese, Khmer, kana, Han. Each of their letters is a word here.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_SPACED = re.compile(rf"[^\W_{_UNSPACED}]")
_OPENING = "([{<$€£¥@#/«„“‘"  # what goes on from one of these has no space before it
_WORDS = re.compile(rf"(?=[{_UNSPACED}])[^\W_]|[^\W_{_UNSPACED}]+")


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
    """Words in lower case without accents or punctuation, one space apart and around.

    In a script without spaces every letter counts as a word, so that what is looked for is found within a sentence.
    """
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return f" {' '.join(_WORDS.findall(bare))} "


def continued(prompt: Prompt, text: str) -> str:
    """A text put into the model's mouth, as it goes on from a prompt: a text to be continued gets a space between.

    None stands between letters of scripts without spaces, nor behind a space or a mark that opens something.
    """
    last, open_quote = prompt.text[-1:], prompt.text.count('"') % 2 == 1
    opens = last.isspace() or last in _OPENING or (last == '"' and open_quote)
    apart = _SPACED.match(text) and (_SPACED.match(last) or not (last.isalnum() or opens))
    return f" {text}" if prompt.form is Form.PLAIN and apart else text


def holds(reply: str, answers: Iterable[str]) -> bool:
    """Whether the reply holds one of the answers, as whole words of the normalised text."""
    words = normalised(reply)
    return any(normalised(answer) in words for answer in answers if normalised(answer).strip())


def find_answer(reply: str, answers: Iterable[str]) -> tuple[int, int] | None:
    """The earliest place of an answer in a reply, as character offsets; the longest of those that start there.

    There is one exactly where ``holds`` says so: accents, capitals, punctuation and spacing do not matter.
    """
    words = _placed_words(reply)
    said = [word for word, _, _ in words]
    found: list[tuple[int, int]] = []
    for answer in answers:
        wanted = normalised(answer).split()
        starts = (n for n in range(len(said) - len(wanted) + 1) if said[n : n + len(wanted)] == wanted)
        first = next(starts, None) if wanted else None
        if first is not None:
            found.append((words[first][1], words[first + len(wanted) - 1][2]))
    return min(found, key=lambda span: (span[0], -span[1]), default=None)


def not_telling(text: str, start: int, ends: Sequence[int]) -> int:
    """How many of an answer's first tokens only begin its first word with a letter or two.

    They begin a thousand words, or are words themselves (" is" of "islam"): what follows tells the answer, not they.

    Args:
        text: up to the answer's end.
        start: where the answer begins in it.
        ends: where each of its tokens ends.
    """
    for n, end in enumerate(ends):
        piece = text[start:end]
        begun = piece.isascii() and piece.isalpha() and text[end : end + 1].isalpha()
        if len(piece) > 2 or not begun:
            return n
    return len(ends)


def _placed_words(text: str) -> list[tuple[str, int, int]]:
    """The words of ``normalised`` with their character offsets in the text as it is."""
    bare, places = [], []
    for place, letter in enumerate(text):
        for part in unicodedata.normalize("NFKD", letter.casefold()):
            if not unicodedata.combining(part):
                bare.append(part)
                places.append(place)
    words = []
    for match in _WORDS.finditer("".join(bare)):
        end = places[match.end() - 1] + 1
        while end < len(text) and unicodedata.combining(text[end]):
            end += 1  # an accent that is a character of its own belongs to its letter
        words.append((match[0], places[match.start()], end))
    return words


def degenerate(reply: str) -> bool:
    """Whether a reply is empty or one repeated pattern: no more than a third of its trigrams differ."""
    words = normalised(reply).split()
    if not words:
        return True
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(trigrams) >= 12 and len(set(trigrams)) <= len(trigrams) // 3
