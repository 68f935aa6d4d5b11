"""Whether a text fits a model's context: exact where the prepared model's tokenizer is at hand, else a safe bound."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from app.errors import PromptTooLong
from app.models import ServedModel
from app.schemas import DeletionRequest
from app.settings import Settings

_log = structlog.get_logger(__name__)
if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROOM = 128  # tokens of a context that the chat template, a phrasing around the text and the reply take
MOST_CHARACTERS_PER_TOKEN = 16  # far above what words take, about 4 to 6; the worker checks exactly


def check_lengths(request: DeletionRequest, model: ServedModel, settings: Settings) -> None:
    """Raise PromptTooLong if a prompt or text leaves less than ROOM, or half of a short context, for the rest."""
    longest = max(model.context_length - ROOM, model.context_length // 2)
    path = tokenizer_file(model, settings)
    tokenizer = load_tokenizer(path) if path is not None else None
    fields = []
    for field, text in request.texts():
        if tokenizer is not None:
            too_long = len(tokenizer.encode(text, add_special_tokens=True).ids) > longest
        else:
            too_long = len(text) > longest * MOST_CHARACTERS_PER_TOKEN
        if too_long:
            detail = f"must have at most {longest} tokens"
            fields.append({"field": field, "type": PromptTooLong.uri(), "detail": detail})
    if fields:
        raise PromptTooLong(fields=fields)


def tokenizer_file(model: ServedModel, settings: Settings) -> Path | None:
    """The model's tokenizer.json in its own folder or in the cache of prepared models, if there is one."""
    for folder in (Path(model.source), settings.models / model.id / "base"):
        path = folder / "tokenizer.json"
        if path.is_file():
            return path
    return None


def load_tokenizer(path: Path) -> "Tokenizer | None":
    """The tokenizer of a file, None if it is none."""
    return _load(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _load(path: str, _changed: int) -> "Tokenizer | None":
    """A tokenizer, read once and again when its file changes."""
    from tokenizers import Tokenizer  # here, not at the top: 50 ms that only a POST needs

    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception:  # the library raises nothing more particular
        _log.warning("a tokenizer cannot be read")
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
