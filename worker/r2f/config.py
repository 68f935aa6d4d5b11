"""The settings of the method: frozen, passed down, and written into every report."""

from dataclasses import dataclass

FALL = 15.0


@dataclass(frozen=True)
class Config:
    """Settings of one deletion; chosen on some of the demo's facts, which therefore are no benchmark, on the half of
    known_1000 that no table reports, and on a planted person whose deletion is not shown (README)."""

    method: str = "r2f"  # its name in app.methods
    seed: int = 0
    loss: str = "softened"  # its name in worker.r2f.losses
    views: int = 8  # training views per target that the model answers, at most
    held_out: int = 12  # held-out views per target, at most
    neighbours: int = 16  # neighbour prompts in the curvature; as many again are only judged
    sketch_rank: int = 8  # r: rank of the LoRA gradients
    adapter_rank: int = 16  # ρ: rank of the published adapter
    damping: float = 0.03  # λ of the preconditioner, as a share of the mean diagonal
    neighbour_weight: float = 16.0  # of the neighbours' curvature, beside the generic one's 1
    neighbour_rank: int = 128  # low-rank part of the neighbours' curvature
    max_rounds: int = 8
    factor: float = FALL  # how far one round takes p(answer) down
    depth: float = 1e-4  # p(answer) at which a view counts as forgotten while searching
    kl_budget: float = 0.02  # mean KL on drift prompts that the path may not exceed, nats
    neighbour_tokens: int = 16  # of a neighbour's reply in the curvature
    reply_tokens: int = 32  # new tokens of a reply that is searched for the answer
    audit: bool = True  # compare the decoded gradient with the exact one
    merged: str | None = None  # rounding of the model that the adapter is merged into; None: it stays beside it
