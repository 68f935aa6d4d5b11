"""Unlearning losses push what they promise to push."""

import torch

from worker.r2f.calibration import log_odds
from worker.r2f.losses import ascent, softened, uniform


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
