"""The unlearning methods that a request or a benchmark can name."""

from enum import StrEnum


class Method(StrEnum):
    """One name a method; the papers and equations are with the methods themselves."""

    R2F = "r2f"  # Recover-to-Forget, the service's own
    FULL_GRADIENT = "full_gradient"  # the exact gradient, truncated to the adapter's rank
    FULL_GRADIENT_DENSE = "full_gradient_dense"  # the exact gradient at full rank: the upper bound
    LORA_SINGLE = "lora_single"  # LoRA gradients of one phrasing (the paper's LoRA_sin)
    LORA_MULTI = "lora_multi"  # LoRA gradients of all phrasings (the paper's LoRA_mul)
    SCRUB = "scrub"  # teacher and student, KL
    LOGIT_FILTRATION = "logit_filtration"  # a linear filter on the logits, which the paper cites under SCRUB's name
    ECO = "eco"  # a prompt classifier and corrupted embeddings
    SKU = "sku"  # learn the bad, subtract it
    DEEPCUT = "deepcut"  # contrastive, in the latent space
    GRADIENT_ASCENT = "gradient_ascent"
    NPO = "npo"  # negative preference optimisation
    SIMNPO = "simnpo"  # the same without a reference model
    GRAD_DIFF = "grad_diff"  # ascent on the forgotten, descent on the kept
    RMU = "rmu"  # representation misdirection
    FLAT = "flat"  # a template answer against the forgotten one
    SHRED = "shred"  # self-distillation with demoted logits


# What these change is no low-rank update of the linear weights, so there is no adapter to publish.
WITHOUT_ADAPTER = frozenset({Method.ECO, Method.LOGIT_FILTRATION, Method.FULL_GRADIENT_DENSE})
