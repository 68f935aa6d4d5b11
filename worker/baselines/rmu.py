"""RMU (Li et al., arXiv 2403.03218, eq. 1–3): ‖h_l(x_f) − c·u‖² + α ‖h_l(x_r) − h_l^ref(x_r)‖².

Steers the hidden states of forgotten tokens towards one random direction u at a layer l, and keeps those of kept ones.
Only the MLP outputs of l and the two layers before it are trained.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.baselines.hidden import hidden_states
from worker.baselines.sequences import batch_of, kept_chunks
from worker.baselines.task import Task, Unlearned
from worker.r2f.decoder import depth_of
from worker.r2f.examples import Batch
from worker.r2f.finetuning import Training, train
from worker.r2f.sites import Site


def distance(states: Tensor, goal: Tensor, batch: Batch) -> Tensor:
    """Mean squared distance over all tokens that are no padding, for states and goal (n × T × d)."""
    return (states - goal)[own_tokens(batch)].square().mean()


def own_tokens(batch: Batch) -> Tensor:
    """Which tokens (n × T) are neither padding nor of the opening that all share, which is neither steered nor held."""
    return batch.mask[:, len(batch.prefix) :].bool()


@dataclass(frozen=True)
class RMU:
    """Settings."""

    training: Training = Training(rate=3e-3, steps=30)
    layer: float = 0.25  # l, as a share of the depth (the paper: 7 of 32)
    norm: float = 20.0  # c, in units of the layer's mean activation norm over √d, so that it fits every model
    retain: float = 10.0  # α

    def place(self, task: Task) -> int:
        """The layer l."""
        return min(max(round(self.layer * depth_of(task.lm.sites)), 0), depth_of(task.lm.sites) - 1)

    def trained(self, task: Task) -> tuple[Site, ...]:
        """The sites that change."""
        last = self.place(task)
        return tuple(s for s in task.lm.sites if s.module == "down_proj" and last - 2 <= s.layer <= last)

    def __call__(self, task: Task) -> Unlearned:
        lm, config, layer = task.lm, task.config, self.place(task)
        forget = batch_of(task, task.forget)
        kept = [chunk.batch for chunk in kept_chunks(task)]
        with torch.no_grad():
            here = hidden_states(lm, forget, layer)
            goals = [hidden_states(lm, batch, layer) for batch in kept]
        generator = torch.Generator().manual_seed(config.seed)
        u = torch.rand(here.shape[-1], generator=generator, dtype=torch.float64).to(here)
        scale = here[own_tokens(forget)].norm(dim=-1).mean() / here.shape[-1] ** 0.5
        steered = (self.norm * scale * u / u.norm()).expand_as(here)

        def objective(step: int) -> Tensor:
            turn = step % len(kept)
            pushed = distance(hidden_states(lm, forget, layer), steered, forget)
            return pushed + self.retain * distance(hidden_states(lm, kept[turn], layer), goals[turn], kept[turn])

        return Unlearned(
            train(
                lm,
                self.training,
                config.adapter_rank,
                config.seed,
                objective,
                sites=self.trained(task),
                progress=task.progress,
            )
        )
