"""Rounding of weights: does the forgotten stay forgotten when the merged model is quantised?

Each quantiser maps a weight to the values that its format can hold, as the weight's own type. Blocks run along the
inputs, as the formats store them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import torch
from torch import Tensor, nn

from worker.r2f.adaptation import Update
from worker.r2f.sites import Site

Quantiser = Callable[[Tensor], Tensor]
BLOCK = 32  # of GGUF's Q4_1 and Q8_0


def round_to_nearest(bits: int, group: int = 64) -> Quantiser:
    """Symmetric rounding to the nearest of 2^bits − 1 levels in each group of inputs."""

    def quantise(weight: Tensor) -> Tensor:
        blocks = _blocks(weight, group)
        levels = 2 ** (bits - 1) - 1
        scale = (blocks.abs().amax(-1, keepdim=True) / levels).clamp_min(torch.finfo(torch.float32).tiny)
        return _whole((blocks / scale).round().clamp(-levels, levels) * scale, weight)

    return quantise


def q4_1(weight: Tensor) -> Tensor:
    """GGUF Q4_1: 16 levels from a block's minimum m upwards, scale and m in half precision."""
    blocks = _blocks(weight, BLOCK)
    low, high = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)
    step = (high - low) / 15
    level = torch.where(step > 0, (blocks - low) / step.clamp_min(1e-30), torch.zeros_like(blocks)).add(0.5).floor()
    return _whole(level.clamp(0, 15) * _half(step) + _half(low), weight)


def q8_0(weight: Tensor) -> Tensor:
    """GGUF Q8_0: 255 symmetric levels in each block, scale in half precision."""
    blocks = _blocks(weight, BLOCK)
    step = blocks.abs().amax(-1, keepdim=True) / 127
    level = torch.where(step > 0, blocks / step.clamp_min(1e-30), torch.zeros_like(blocks)).round()
    return _whole(level * _half(step), weight)


QUANTISERS: dict[str, Quantiser] = {
    "rtn8": round_to_nearest(8),
    "rtn4": round_to_nearest(4),
    "q8_0": q8_0,
    "q4_1": q4_1,
}


class Merged:
    """Inside the block, every site's weight is the rounded sum of its own and the update last given to ``use``.

    So serves who merges an adapter into a model and then rounds that. Afterwards the weights are as they were, bit for
    bit. Their storage is exchanged, so nothing else may use the model meanwhile.
    """

    def __init__(self, model: nn.Module, sites: Sequence[Site], quantise: Quantiser) -> None:
        self._model = model
        self._sites = sites
        self._quantise = quantise
        self._own: dict[str, Tensor] = {}

    def use(self, update: Update) -> None:
        """Merge an update and round; an empty one is the rounded base model."""
        for site in self._sites:
            own, part = self._own[site.name], update.get(site.name)
            merged = own + (part.left @ part.right).to(own.dtype) if part else own
            _weight(self._model, site.name).data = self._quantise(merged)

    def lift(self) -> None:
        """The weights' own values again, until the next ``use``."""
        for name, data in self._own.items():
            _weight(self._model, name).data = data

    def __enter__(self) -> "Merged":
        self._own = {site.name: _weight(self._model, site.name).data for site in self._sites}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lift()


@contextmanager
def quantised(model: nn.Module, sites: Sequence[Site], update: Update, quantise: Quantiser) -> Iterator[None]:
    """Inside, an update is merged into the model, and that rounded."""
    with Merged(model, sites, quantise) as merged:
        merged.use(update)
        yield


def _weight(model: nn.Module, name: str) -> Tensor:
    weight = model.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    return weight


def _blocks(weight: Tensor, size: int) -> Tensor:
    """(d_out × d_in) to (d_out × blocks × size), float32; the last block is filled with its last value."""
    rest = -weight.shape[1] % size
    filled = torch.cat([weight, weight[:, -1:].expand(-1, rest)], dim=1) if rest else weight
    return filled.float().reshape(weight.shape[0], -1, size)


def _whole(blocks: Tensor, like: Tensor) -> Tensor:
    return blocks.reshape(like.shape[0], -1)[:, : like.shape[1]].to(like.dtype).contiguous()


def _half(values: Tensor) -> Tensor:
    return values.half().float()
