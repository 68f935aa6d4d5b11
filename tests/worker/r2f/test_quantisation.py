"""Quantised weights lie on their format's grid, and the model comes back as it was."""

import pytest
import torch
from transformers import PreTrainedModel

from worker.r2f.lowrank import LowRank
from worker.r2f.quantisation import BLOCK, QUANTISERS, q4_1, quantised, round_to_nearest
from worker.r2f.sites import find_sites


def _weight(d_in: int = 70) -> torch.Tensor:
    return torch.randn(5, d_in, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", sorted(QUANTISERS))
def test_errors_are_within_half_a_level_and_not_zero(name: str) -> None:
    weight, levels = _weight(), 255 if "8" in name else 15
    error = (QUANTISERS[name](weight) - weight).abs()
    assert 0 < float(error.max()) <= 1.2 * float(weight.max() - weight.min()) / levels


def test_q4_1_agrees_with_the_gguf_library() -> None:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    weight = _weight(4 * BLOCK)
    theirs = dequantize(quantize(weight.numpy(), GGMLQuantizationType.Q4_1), GGMLQuantizationType.Q4_1)
    torch.testing.assert_close(q4_1(weight), torch.from_numpy(theirs.copy()), atol=2e-3, rtol=0)


def test_what_lies_on_the_grid_stays_and_small_updates_snap_away() -> None:
    on_grid = q4_1(_weight(2 * BLOCK))
    torch.testing.assert_close(q4_1(on_grid), on_grid, atol=1e-3, rtol=0)
    torch.testing.assert_close(q4_1(on_grid + 1e-4), on_grid, atol=2e-3, rtol=0)
    assert not torch.allclose(q4_1(on_grid + 1.0), on_grid, atol=0.1)


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
