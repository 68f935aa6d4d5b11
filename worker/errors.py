"""Why a deletion cannot be done, whatever a retry would try; each has a stable code, and no word of the request."""


class PipelineError(Exception):
    """The deletion cannot be done, and no retry would help."""

    code = "pipeline_error"


class PromptTooLong(PipelineError):
    """A prompt or text of the request is longer than the model's context."""

    code = "prompt_too_long"


class NoStep(PipelineError):
    """No step lowered the answer's probability within the utility budget; the model is unchanged."""

    code = "no_step"


class NoAdapter(PipelineError):
    """The method changes no linear weight, so it makes no adapter; compare it with r2f bench unlearning."""

    code = "no_adapter"


class NothingToKeep(PipelineError):
    """The method keeps by example, and neither neighbours nor generic prompts gave a reply: name some in retain."""

    code = "nothing_to_keep"


class Diverged(PipelineError):
    """The method's training left the finite numbers; the model is unchanged."""

    code = "diverged"


class NonFinite(PipelineError):
    """The gradient holds NaN or infinite values: serve the model in float32."""

    code = "non_finite_gradient"
