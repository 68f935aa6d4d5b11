"""Curvature in low rank plus diagonal behaves like the dense matrix that it stands for."""

import torch

from worker.r2f.compression import compress
from worker.r2f.curvature import Curvature, CurvatureSketch, Moment, MomentSketch
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site

SITE = Site("model.layers.0.self_attn.q_proj", 0, "q_proj", 24, 20)


def _moment(d: int, k: int, seed: int) -> Moment:
    generator = torch.Generator().manual_seed(seed)
    return Moment(torch.randn(d, k, generator=generator).double(), torch.rand(d, generator=generator).double() + 0.01)


def _dense(moment: Moment, damping: float) -> torch.Tensor:
    size = torch.eye(len(moment.rest), dtype=torch.float64)
    return moment.u @ moment.u.T + torch.diag(moment.rest) + damping * moment.mean_diagonal * size


def test_solving_by_woodbury_is_solving_densely() -> None:
    moment, x = _moment(20, 4, 0), torch.randn(20, 3, dtype=torch.float64)
    torch.testing.assert_close(moment.solve(x, 0.1), torch.linalg.solve(_dense(moment, 0.1), x))
    torch.testing.assert_close(moment.times(x, 0.1), _dense(moment, 0.1) @ x)


def test_adding_a_deletions_neighbours_is_adding_the_matrices() -> None:
    one, two = _moment(20, 4, 0), _moment(20, 3, 1)
    torch.testing.assert_close(_dense(one.plus(two, 2.5), 0.0), _dense(one, 0.0) + 2.5 * _dense(two, 0.0))


def test_one_pass_over_rows_keeps_a_low_rank_moment_exactly_and_every_diagonal() -> None:
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(300, 5, generator=generator) @ torch.randn(5, 120, generator=generator)
    sketch = MomentSketch(120, 8, seed=0)
    for part in rows.split(64):
        sketch.add(part, len(part))
    moment, exact = sketch.moment(), rows.T @ rows / 300
    torch.testing.assert_close(_dense(moment, 0.0).float(), exact, rtol=1e-3, atol=1e-2)
    noisy = rows + torch.randn(300, 120, generator=generator)
    sketch = MomentSketch(120, 8, seed=0)
    sketch.add(noisy, 300)
    torch.testing.assert_close(_dense(sketch.moment(), 0.0).diag().float(), (noisy.T @ noisy / 300).diag())


def test_inputs_weigh_by_their_output_gradient_and_padding_counts_nowhere() -> None:
    generator = torch.Generator().manual_seed(6)
    x, d = torch.randn(50, 20, generator=generator), torch.randn(50, 24, generator=generator)
    d *= torch.arange(50)[:, None] % 3  # every third position is padding
    sketch = CurvatureSketch((SITE,), 24, seed=0)
    for some in (slice(0, 20), slice(20, 50)):
        sketch(SITE, x[some], d[some])
    made, weights = sketch.curvature(), d.square().sum(1)
    wanted = (x * weights[:, None]).T @ x / weights.sum()
    torch.testing.assert_close(_dense(made.inputs[SITE.group], 0.0).float(), wanted, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(_dense(made.outputs[SITE.name], 0.0).float(), d.T @ d / 33, rtol=1e-3, atol=1e-3)


def test_compression_loses_least_in_the_curvature_norm() -> None:
    curvature = Curvature({SITE.group: _moment(20, 6, 3)}, {SITE.name: _moment(24, 6, 4)})
    generator = torch.Generator().manual_seed(5)
    update = LowRank(torch.randn(24, 9, generator=generator).double(), torch.randn(9, 20, generator=generator).double())

    def loss(small: LowRank) -> float:
        gone = update.left @ update.right - small.left @ small.right
        c_out, c_in = _dense(curvature.outputs[SITE.name], 0.05), _dense(curvature.inputs[SITE.group], 0.05)
        return float(torch.trace(c_out @ gone @ c_in @ gone.T))

    ours = compress({SITE.name: update}, (SITE,), curvature, 0.05, 4)[SITE.name]
    assert ours.rank == 4
    assert loss(ours) < 0.98 * loss(update.truncated(4))
    whole = compress({SITE.name: update}, (SITE,), curvature, 0.05, 16)[SITE.name]
    torch.testing.assert_close(whole.left @ whole.right, update.left @ update.right)


def test_a_rank_above_a_narrow_sites_width_changes_nothing() -> None:
    narrow = Site("model.layers.0.self_attn.k_proj", 0, "k_proj", 6, 20)
    curvature = Curvature({narrow.group: _moment(20, 6, 3)}, {narrow.name: _moment(6, 2, 4)})
    generator = torch.Generator().manual_seed(5)
    update = LowRank(
        torch.randn(6, 30, generator=generator).double(), torch.randn(30, 20, generator=generator).double()
    )
    for small in (compress({narrow.name: update}, (narrow,), curvature, 0.05, 16)[narrow.name], update.truncated(16)):
        assert small.rank == 6
        torch.testing.assert_close(small.left @ small.right, update.left @ update.right)
