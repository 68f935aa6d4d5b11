"""A low-rank update applied to a model by forward hooks: the weights are never touched."""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site

Update = Mapping[str, LowRank]  # by site name; W' = W + left @ right


class Adaptation:
    """Inside the block, every site computes (W + left @ right) x for the update last given to ``use``."""

    def __init__(self, model: nn.Module, sites: Sequence[Site]) -> None:
        self._model = model
        self._sites = sites
        self._update: Update = {}
        self._handles: list[RemovableHandle] = []

    def use(self, update: Update) -> None:
        """Apply an update from the next forward pass on; an empty one is the base model."""
        self._update = update

    def __enter__(self) -> "Adaptation":
        for site in self._sites:
            self._handles.append(self._model.get_submodule(site.name).register_forward_hook(self._hook(site.name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        def forward(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if name not in self._update:
                return None
            update = self._update[name]
            flat = inputs[0].reshape(-1, inputs[0].shape[-1])  # (n × d_in)
            left, right = update.left.to(flat.dtype), update.right.to(flat.dtype)
            added = torch.addmm(output.reshape(-1, output.shape[-1]), flat @ right.T, left.T)
            return added.reshape(output.shape)

        return forward


def plus(update: Update, direction: Mapping[str, LowRank], step: float) -> Update:
    """update − step · direction, per site, exactly."""
    return {
        name: update[name].plus(part.scaled(-step)) if name in update else part.scaled(-step)
        for name, part in direction.items()
    }
