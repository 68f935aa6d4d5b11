"""Identity, membership and extraction are what their definitions say."""

import math

import pytest
import torch

from worker.r2f.identity import identity
from worker.r2f.membership import extraction_strength, min_k, min_k_plus


def _logs(seed: int = 0) -> torch.Tensor:
    return torch.randn(6, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).log_softmax(-1)


def test_a_model_is_itself_and_no_other() -> None:
    assert identity(_logs(), _logs()).similarity == pytest.approx(1)
    other = identity(_logs(), _logs(1))
    assert other.similarity < 0.9
    assert other.distance == pytest.approx(1 - other.similarity)


def test_min_k_is_the_mean_of_the_least_likely_tokens() -> None:
    logs, tokens = _logs(), torch.tensor([0, 1, 2, 3, 4, 5])
    own = sorted(float(logs[n, token]) for n, token in enumerate(tokens))
    assert min_k(logs, tokens, 0.34) == pytest.approx(sum(own[:2]) / 2)
    assert min_k(logs, logs.argmax(-1)) > min_k(logs, logs.argmin(-1))


def test_min_k_plus_measures_in_deviations_of_the_models_own_log_p() -> None:
    logs = torch.tensor([[0.5, 0.25, 0.25]]).log()
    mean = 0.5 * math.log(0.5) + 0.5 * math.log(0.25)
    deviation = math.sqrt(0.5 * math.log(0.5) ** 2 + 0.5 * math.log(0.25) ** 2 - mean**2)
    wanted = (math.log(0.25) - mean) / deviation
    assert min_k_plus(logs, torch.tensor([1])) == pytest.approx(wanted, rel=1e-5)


def test_extraction_counts_from_the_last_token_that_the_model_gets_wrong() -> None:
    logs = _logs()
    said = logs.argmax(-1)
    assert extraction_strength(logs, said) == 1
    wrong = said.clone()
    wrong[2] = (wrong[2] + 1) % 9
    assert extraction_strength(logs, wrong) == pytest.approx(1 - 3 / 6)
