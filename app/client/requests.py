"""What a caller sends: plain dictionaries, as they lie in a file; the service checks them."""

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict


class PromptTarget(TypedDict):
    """A fact: a prompt and the answer that must no longer come."""

    prompt: str
    answer: str
    aliases: NotRequired[Sequence[str]]
    paraphrases: NotRequired[Sequence[str]]


class PassageTarget(TypedDict):
    """A memorised passage and the parts of it that must no longer come."""

    text: str
    spans: Sequence[str]


class AboutTarget(TypedDict):
    """A person: what the model says of them again and again, and of nobody else, must no longer come."""

    about: str


class Retain(TypedDict):
    """Something near the target that must stay."""

    prompt: str
    answer: NotRequired[str]


class DeletionRequest(TypedDict):
    """A request to make a model forget; the OpenAPI page says what each field means."""

    model: str
    targets: Sequence[PromptTarget | PassageTarget | AboutTarget]
    retain: NotRequired[Sequence[Retain]]
    data_subject: NotRequired[str]
    options: NotRequired[dict[str, Any]]
    thresholds: NotRequired[dict[str, Any]]
    reference: NotRequired[str]
    legal_basis: NotRequired[str]
    callback_url: NotRequired[str]
