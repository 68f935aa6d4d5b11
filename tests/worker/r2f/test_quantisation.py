"""Quantised weights lie on their format's grid, and the model comes back as it was."""

import pytest
import torch
from transformers import PreTrainedModel

from worker.r2f.lowrank import LowRank
from worker.r2f.quantisation import BLOCK, QUANTISERS, Merged, quantised, round_to_nearest
from worker.r2f.sites import find_sites


def _weight(d_in: int = 70) -> torch.Tensor:
    return torch.randn(5, d_in, generator=torch.Generator().manual_seed(0))


def _steps(name: str, weight: torch.Tensor) -> torch.Tensor:
    """The distance between the levels of every entry's block."""

    def step(block: torch.Tensor) -> torch.Tensor:
        if name == "q4_1":
            return (block.amax(1, keepdim=True) - block.amin(1, keepdim=True)) / 15
        return block.abs().amax(1, keepdim=True) / (127 if "8" in name else 7)

    size = 64 if name.startswith("rtn") else BLOCK
    return torch.cat([step(block).expand_as(block) for block in weight.split(size, 1)], dim=1)


@pytest.mark.parametrize("name", sorted(QUANTISERS))
def test_errors_are_within_half_a_step_of_the_block_and_come_close_to_it(name: str) -> None:
    weight = _weight()
    error = (QUANTISERS[name](weight) - weight).abs() / _steps(name, weight)
    assert 0.45 < float(error.max()) <= 0.5 + 127 * 2**-11  # a scale in half precision, 127 times at most


@pytest.mark.parametrize(("quantiser", "theirs"), [("q4_1", "Q4_1"), ("q8_0", "Q8_0")])
def test_blocks_agree_with_the_gguf_library(quantiser: str, theirs: str) -> None:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    weight, kind = _weight(4 * BLOCK), GGMLQuantizationType[theirs]
    wanted = torch.from_numpy(dequantize(quantize(weight.numpy(), kind), kind).copy())
    torch.testing.assert_close(QUANTISERS[quantiser](weight), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", sorted(QUANTISERS))
def test_what_lies_on_the_grid_stays_and_small_updates_snap_away(name: str) -> None:
    quantise = QUANTISERS[name]
    on_grid = quantise(_weight(128))
    torch.testing.assert_close(quantise(on_grid), on_grid, atol=1e-6, rtol=0)
    steps = _steps(name, on_grid)
    inner = on_grid.abs() < 3 * steps  # no block's lowest or highest, which its levels hang on
    assert inner.any()
    for share, stays in ((1 / 3, True), (-1 / 3, True), (2 / 3, False)):
        moved = quantise(torch.where(inner, on_grid + share * steps, on_grid))
        torch.testing.assert_close(moved, on_grid if stays else on_grid + inner * steps, atol=1e-6, rtol=0)


def test_a_zero_block_stays_zero() -> None:
    for quantise in QUANTISERS.values():
        assert not quantise(torch.zeros(3, 64)).any()


def test_the_merged_model_is_quantised_inside_and_itself_afterwards(model: PreTrainedModel) -> None:
    sites = find_sites(model)
    site = sites[0]
    before = model.get_submodule(site.name).weight.clone()
    update = {site.name: LowRank(torch.ones(site.d_out, 1).double(), torch.ones(1, site.d_in).double())}
    with quantised(model, sites, update, round_to_nearest(8)):
        inside = model.get_submodule(site.name).weight.clone()
    torch.testing.assert_close(inside, before + 1, atol=0.02, rtol=0)
    assert not torch.equal(inside, before + 1)
    assert torch.equal(model.get_submodule(site.name).weight, before)


def test_the_weights_of_a_merged_model_follow_the_update_last_given_and_can_be_lifted(model: PreTrainedModel) -> None:
    sites, quantise = find_sites(model), round_to_nearest(4)
    site, other = sites[0], sites[1]
    weights = [model.get_submodule(name).weight for name in (site.name, other.name)]
    own = [weight.data.clone() for weight in weights]
    one = LowRank(torch.ones(site.d_out, 1), torch.ones(1, site.d_in))
    with Merged(model, sites, quantise) as merged:
        merged.use({site.name: one})
        assert torch.equal(weights[0].data, quantise(own[0] + 1))
        assert torch.equal(weights[1].data, quantise(own[1]))
        merged.use({})  # of the weights' own values, not of those before
        assert torch.equal(weights[0].data, quantise(own[0]))
        merged.lift()
        assert all(torch.equal(weight.data, data) for weight, data in zip(weights, own, strict=True))
        merged.use({site.name: one})
    assert all(torch.equal(weight.data, data) for weight, data in zip(weights, own, strict=True))
