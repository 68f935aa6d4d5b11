"""Updates of one model add up: exactly while the ranks fit, else with the least loss in the curvature norm."""

import pytest
import torch

from worker.r2f.adaptation import Update
from worker.r2f.composition import compose
from worker.r2f.curvature import Curvature, Moment
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site

SITE = Site("model.layers.0.self_attn.q_proj", 0, "q_proj", 24, 20)
_generator = torch.Generator().manual_seed(0)


def _update(rank: int) -> Update:
    left = torch.randn(SITE.d_out, rank, generator=_generator).double()
    return {SITE.name: LowRank(left, torch.randn(rank, SITE.d_in, generator=_generator).double())}


def _moment(d: int) -> Moment:
    low = torch.randn(d, 5, generator=_generator).double()
    return Moment(low, torch.rand(d, generator=_generator).double() + 0.01)


CURVATURE = Curvature({SITE.group: _moment(SITE.d_in)}, {SITE.name: _moment(SITE.d_out)})


def _dense(update: Update) -> torch.Tensor:
    return update[SITE.name].left @ update[SITE.name].right


def test_a_composition_that_fits_is_the_sum_itself() -> None:
    parts = [_update(3), _update(2), _update(3)]
    made = compose(parts, (SITE,), CURVATURE, 0.03, 8)
    assert made.exact
    assert made.update[SITE.name].rank == 8
    torch.testing.assert_close(_dense(made.update), sum(map(_dense, parts), torch.zeros(24, 20)))


def test_one_that_does_not_fit_has_the_rank_and_says_so() -> None:
    parts = [_update(5), _update(4)]
    made = compose(parts, (SITE,), CURVATURE, 0.03, 8)
    assert not made.exact
    assert made.update[SITE.name].rank == 8
    whole = parts[0][SITE.name].plus(parts[1][SITE.name])
    c_out, c_in = CURVATURE.outputs[SITE.name], CURVATURE.inputs[SITE.group]

    def lost(part: LowRank) -> float:
        gone = whole.left @ whole.right - part.left @ part.right
        return float(torch.trace(gone.T @ c_out.times(gone, 0.03) @ c_in.times(torch.eye(20).double(), 0.03)))

    assert 0 < lost(made.update[SITE.name]) < 0.9 * lost(whole.truncated(8))


def test_nothing_is_no_composition() -> None:
    with pytest.raises(ValueError, match="nothing to compose"):
        compose([], (SITE,), CURVATURE, 0.03, 8)
