"""The report of a deletion: figures, free of personal data, apart from the evidence, which holds it.

The worker writes it, the API serves it. Figures stay for good; evidence is sealed and may be purged.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """A frozen record that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rate(Record):
    """A share of cases with its Wilson 95 % interval; all three are None when there are no cases."""

    cases: int = Field(description="How many cases count.")
    hits: int = Field(description="In how many of them the thing named by the field happened.")
    rate: float | None
    low: float | None
    high: float | None


class Probability(Record):
    """Mean and largest probability of the tokens that tell the answer, over held-out views, before and after."""

    mean_before: float
    mean_after: float
    max_before: float
    max_after: float


class ViewFigures(Record):
    """One held-out view that the base model answers."""

    before: float = Field(description="Probability of the tokens that tell the answer, without the adapter.")
    after: float = Field(description="The same with it.")


class TargetFigures(Record):
    """Success on one target, by its place in the request; every span of a passage is one, and statements found about a
    person stand in that one's place."""

    target: int
    known: int = Field(description="Held-out views that the base model answers.")
    success: Rate


class Generic(Record):
    """Drift on generic prompts, over the positions of the base model's own replies."""

    prompts: int
    positions: int
    kl_mean: float = Field(description="Mean KL(base || adapted) per position, in nats.")
    kl_max: float = Field(description="Largest mean KL of one prompt, in nats.")
    agreement: float = Field(description="Share of positions with the same most likely token.")


class Round(Record):
    """One re-linearised step along the path."""

    round: int
    step: float = Field(description="Accepted step along the preconditioned gradient.")
    answer_max: float = Field(description="Largest p(answer) over training views after the round.")
    answer_mean: float = Field(description="Mean p(answer) over training views after the round.")
    kl: float = Field(description="Mean KL on the calibration prompts after the round, in nats.")
    forwards: int = Field(description="Forward passes that the step search took.")
    seconds: float


class Compression(Record):
    """The summed factors, truncated in the curvature norm."""

    rank_before: int
    rank_after: int
    answer_max_before: float
    answer_max_after: float


class SiteFidelity(Record):
    """How well one site's gradient was decoded."""

    layer: int
    module: str
    cosine: float
    energy: float = Field(description="Share of the whole gradient's squared norm.")


class DecoderFidelity(Record):
    """One reconstruction against the exact gradient."""

    name: str = Field(description="decoder; ridge, pseudoinverse, two_sided: fixed filters; lora_*: LoRA-only.")
    site_mean_cosine: float
    energy_weighted_cosine: float
    vector_cosine: float
    relative_error: float = Field(description="||G_hat - G||^2 / ||G||^2, over all sites.")


class Fidelity(Record):
    """Gradient decoding for this request's views, against the exact gradient at the base model.

    The LoRA factors are turned towards the gradient while it is taken, from as they were drawn: as in the path's first
    round. Later rounds start from the factors of the one before.
    """

    methods: list[DecoderFidelity]
    sites: list[SiteFidelity]


class StageCost(Record):
    """What one stage took."""

    stage: str
    seconds: float
    peak_memory_bytes: int = Field(
        description="Peak of the process (CPU) or of the device (GPU) during the stage; of the process since its start "
        "where the system cannot forget a peak."
    )


class MethodUsed(Record):
    """What made the adapter: enough to make it again."""

    method: str
    seed: int
    settings: dict[str, str | int | float | bool | None]
    model: str
    model_digest: str
    decoder: str
    decoder_digest: str
    curvature_digest: str
    adapter_sha256: str | None
    versions: dict[str, str]


class Missed(Record):
    """A threshold that the adapter missed."""

    threshold: str
    required: float
    measured: float | None


class VerdictKind(StrEnum):
    """What the figures say of the adapter."""

    PASSED = "passed"
    MISSED = "missed"
    INSUFFICIENT_EVIDENCE = "insufficient_evidence"
    NOT_KNOWN = "not_known"


class Verdict(Record):
    """The figures held against the request's thresholds."""

    kind: VerdictKind
    missed: list[Missed]


class Figures(Record):
    """Every measured number of a deletion; holds no prompt, reply, answer or name."""

    version: int = 1
    verdict: Verdict
    views: int = Field(description="Held-out views asked.")
    success: Rate = Field(description="Held-out views that the base model answers and the adapted one does not.")
    worst_target: Rate | None
    targets: list[TargetFigures]
    reversed: Rate | None = Field(description="The same for reversed views, which are never trained on.")
    probability: Probability | None
    answers: list[ViewFigures] = Field(
        default=[], description="p(answer) on each held-out view that is known: of the tokens that tell it."
    )
    neighbours: Rate | None = Field(description="Held-out neighbours known to the base model and still answered.")
    retained: Rate | None = Field(
        default=None, description="The same for what the request retains, which is protected as well as judged."
    )
    generic: Generic | None
    degenerate: Rate | None = Field(description="Forgotten prompts whose reply is empty or repeats itself.")
    rounds: list[Round]
    compression: Compression | None
    fidelity: Fidelity | None
    stages: list[StageCost]
    method: MethodUsed


class ViewEvidence(Record):
    """One prompt put to the base and to the adapted model."""

    target: int | None
    prompt: str
    form: str = Field(default="chat", description="How it is put: chat, or plain for a text to be continued.")
    answers: list[str] = Field(default=[], description="What a reply counts as holding; none of a generic prompt.")
    family: str
    source: str = Field(
        description="Of a view: request, bank or model. Of a neighbour: request, relation, subject, swap or nearest."
    )
    known: bool = Field(description="The base model's reply holds the answer.")
    reply_before: str
    reply_after: str | None
    held: bool | None = Field(description="The adapted model's reply still holds the answer.")


class ClaimEvidence(Record):
    """Something that the model was found to say of a person whom the request names."""

    place: int = Field(description="Place in the request of the target that names the person.")
    target: int | None = Field(description="Number of the target made of it; None where it is too unsure to count.")
    kind: str
    question: str
    reply: str
    answer: str = Field(description="The part of the reply that was claimed of the person.")
    agreement: float = Field(description="Share of the replies to questions of its kind that hold it.")
    probability: float | None = Field(description="Its probability in the reply, where enough replies hold it.")
    elsewhere: float | None = Field(description="The same of people who never were, the median.")


class Evidence(Record):
    """What was asked and what was said: personal data, sealed at rest."""

    claims: list[ClaimEvidence] = Field(default=[], description="What was found about people whom the request names.")

    training_views: list[ViewEvidence]
    held_out_views: list[ViewEvidence]
    reversed_views: list[ViewEvidence]
    neighbours: list[ViewEvidence]
    generic: list[ViewEvidence]
    not_known: str | None = Field(
        default=None, description="Why the fact, or a target, counts as not known, when it does."
    )


class Report(Record):
    """A deletion's evaluation."""

    figures: Figures
    evidence: Evidence | None = Field(description="None once it has been purged.")
