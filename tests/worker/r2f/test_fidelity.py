"""What reconstructions are measured against: the best that hindsight allows, and the paper's own kind of decoder."""

import pytest
import torch
from torch import Tensor

from worker.r2f.decoder import Decoder, SpectralFilter
from worker.r2f.fidelity import Audit, Hindsight, Reconstructions, Scalars, summarise
from worker.r2f.gradients import random_factors, sketch
from worker.r2f.lowrank import LowRank
from worker.r2f.regression import Lesson, Regression, Regressions, fit
from worker.r2f.sites import Site

SITE = Site("model.layers.1.mlp.up_proj", 1, "up_proj", 24, 16)
RANK = 3


def _positions(n: int, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """X (n × d_in) of a rank, and D (n × d_out)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, rank, generator=generator) @ torch.randn(rank, 16, generator=generator)
    return x, torch.randn(n, 24, generator=generator)


def _audited(x: Tensor, d: Tensor) -> dict[str, Scalars]:
    factors = {SITE.name: random_factors(SITE, RANK, 0)}
    audit = Audit([Reconstructions(Decoder(SpectralFilter()), 0.1, factors, 3), Hindsight(factors, 3)])
    audit(SITE, x, d)
    return {method: sites[SITE.name] for method, sites in audit.sites.items()}


@pytest.mark.parametrize("seed", range(5))
def test_hindsight_bounds_what_it_is_the_bound_of(seed: int) -> None:
    found = _audited(*_positions(20, 16, seed))
    tolerance = 1e-5 * found["decoder"].exact
    for filtered in ("decoder", "ridge", "pseudoinverse", "two_sided"):
        assert found["best_diagonal"].error <= found[filtered].error + tolerance
    for twice in ("best_diagonal", "decoder", "two_sided"):
        assert found["best_rank_2r"].error <= found[twice].error + tolerance
    for once in ("lora_one_sided", "least_squares"):
        assert found["best_rank_r"].error <= found[once].error + tolerance
    assert found["best_rank_2r"].error < found["best_rank_r"].error


def test_hindsight_stays_the_bound_where_next_to_nothing_is_left_of_the_gradient() -> None:
    x, d = _positions(20, RANK, 0)
    found = _audited(x + 1e-6 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), d)
    for filtered in ("decoder", "best_diagonal"):
        assert found[filtered].error < 1e-6 * found[filtered].exact


def test_known_activations_of_low_rank_give_the_gradient_away() -> None:
    found = _audited(*_positions(20, RANK, 0))
    assert found["least_squares"].error <= 1e-6 * found["least_squares"].exact
    assert found["lora_one_sided"].error > 0.01 * found["lora_one_sided"].exact


def test_figures_weigh_sites_by_their_energy() -> None:
    figures = summarise([Scalars(inner=9.0, estimate=9.0, exact=9.0), Scalars(inner=0.0, estimate=1.0, exact=1.0)])
    assert figures.site_mean_cosine == pytest.approx(0.5)
    assert figures.energy_weighted_cosine == pytest.approx(0.9)
    assert figures.relative_error == pytest.approx(0.2)


def _family(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Gradients that lie in a space of two dimensions, as D and X."""
    base = torch.Generator().manual_seed(7)
    d, x = torch.randn(2, 24, generator=base), torch.randn(2, 16, generator=base)
    weights = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return [(d * w[:, None], x) for w in weights]


def test_the_regression_learns_a_family_of_gradients_and_scales_with_them() -> None:
    untrained = Regressions({}, RANK, 0)
    factors = untrained.factors(SITE, torch.device("cpu"))

    def flat(d: Tensor, x: Tensor) -> Tensor:
        taken = sketch(x, d, factors)
        return torch.cat([taken.y.flatten(), taken.z.flatten()])

    lessons = [Lesson(flat(d, x), LowRank(d.T, x)) for d, x in _family(200, seed=1)]
    network = fit(lessons, RANK, rate=3e-3, steps=300, seed=0)
    trained = Regressions({"up_proj": network}, RANK, 0)
    for d, x in _family(20, seed=2):
        exact = d.T @ x
        guess = trained.guess(SITE, x, d)["regression"]
        assert (guess - exact).norm() < 0.5 * exact.norm()
        torch.testing.assert_close(trained.guess(SITE, x, 3 * d)["regression"], 3 * guess, rtol=1e-4, atol=1e-5)
        cut = trained([SITE], {SITE.name: sketch(x, d, factors)})[SITE.name]
        assert cut.rank == 2 * RANK
        assert (cut.left @ cut.right - guess).norm() < 0.1 * guess.norm()


def test_an_untrained_regression_says_nothing() -> None:
    with torch.random.fork_rng(devices=[]):
        assert not Regression(24, 16, RANK)(torch.randn(2, RANK * 40)).any()
