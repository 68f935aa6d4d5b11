"""Unlearning losses push what they promise to push."""

import pytest
import torch

from worker.r2f.calibration import log_odds
from worker.r2f.examples import Example, collate, demoted_mask
from worker.r2f.forgetting import Forgetting
from worker.r2f.losses import ascent, softened, uniform, unlearning_loss


def _logits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logits = torch.randn(3, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens = torch.tensor([2, 5, 7])
    demoted = torch.zeros(3, 11, dtype=torch.bool)
    demoted[torch.arange(3), tokens] = True
    demoted[0, 4] = True
    return logits.requires_grad_(True), tokens, demoted


def test_the_softened_gradient_is_p_minus_its_target() -> None:
    logits, tokens, demoted = _logits()
    softened(logits, tokens, demoted).sum().backward()
    p = torch.softmax(logits.detach(), -1)
    target = p.masked_fill(demoted, 0)
    target = target / target.sum(-1, keepdim=True)
    torch.testing.assert_close(logits.grad, p - target)
    assert (logits.grad[demoted] > 0).all()  # descent takes every demoted token down
    assert (logits.grad[~demoted] < 0).all()  # and all others up, in proportion


def test_ascent_and_uniform_lower_the_memorised_token_too() -> None:
    for loss in (ascent, uniform):
        logits, tokens, demoted = _logits()
        with torch.no_grad():
            logits[torch.arange(3), tokens] += 4
        loss(logits, tokens, demoted).sum().backward()
        assert (logits.grad[torch.arange(3), tokens] > 0).all()


def test_log_odds_keep_a_gradient_where_cross_entropy_has_none() -> None:
    logits = torch.zeros(1, 5, dtype=torch.float64)
    logits[0, 1] = 30.0
    token = torch.tensor([1])
    odds = logits.clone().requires_grad_(True)
    log_odds(odds, token, torch.empty(0)).sum().backward()
    entropy = logits.clone().requires_grad_(True)
    torch.nn.functional.cross_entropy(entropy, token).backward()
    assert float(entropy.grad.norm()) < 1e-10
    assert float(odds.grad.norm()) > 1.0


@pytest.mark.parametrize("name", ["softened", "ascent", "uniform", "refusal"])
def test_the_pull_is_how_fast_a_loss_falls_with_the_log_odds_of_what_is_demoted(name: str) -> None:
    loss = unlearning_loss(name, lambda text: [9])
    examples = [Example((3, 4), (0,), (4,), ((4, 6),)), Example((3, 5), (0,), (5,), ((5,),))]
    views = Forgetting(collate(examples, 0), demoted_mask(examples, 11))
    logits = torch.randn(2, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits[[0, 1], [4, 5]] += 3

    def value(step: float) -> float:
        moved = logits - step * views.demoted
        return float((loss(moved, views.batch.tokens, views.demoted) * views.batch.weights).sum())

    pull = views.backward(logits.clone().requires_grad_(True), loss)
    assert float(pull) > 0
    assert float(pull) == pytest.approx((value(-1e-6) - value(1e-6)) / 2e-6, rel=1e-5)


def test_an_unknown_loss_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="softened, ascent, uniform or refusal"):
        unlearning_loss("hard", lambda text: [9])
