"""The figures of a judgement are what their papers say, and know when there is nothing to tell."""

import math
from random import Random

import pytest
import torch

from worker.people.measures import area_under_curve, kolmogorov_smirnov, min_k, min_k_plus, truth_ratio


def drawn(seed: int, shift: float = 0.0, count: int = 40) -> list[float]:
    random = Random(seed)
    return [random.gauss(shift, 1) for _ in range(count)]


def test_samples_of_one_distribution_are_told_apart_no_more_often_than_promised() -> None:
    chances = [kolmogorov_smirnov(drawn(2 * n), drawn(2 * n + 1))[1] for n in range(200)]
    assert sum(chance < 0.05 for chance in chances) <= 20


def test_samples_of_two_distributions_are_told_apart() -> None:
    distance, chance = kolmogorov_smirnov(drawn(1), drawn(2, shift=2))
    assert distance > 0.5
    assert chance < 1e-4
    assert kolmogorov_smirnov([1, 2, 3], [4, 5, 6])[0] == 1.0


@pytest.mark.parametrize(
    ("a", "b", "chance"),
    [
        ([1], [2], 1.0),  # whatever they are
        ([1, 2, 3], [4, 5, 6], 2 / 20),  # two of the twenty orders
        ([1, 2, 3], [3.5, 4], 2 / 10),
        ([1, 2, 4, 5], [3, 6, 7, 8], 16 / 70),  # 0.2286 in the tables for n = 4 and a distance of 3/4
    ],
)
def test_the_chance_is_exact_for_a_handful(a: list[float], b: list[float], chance: float) -> None:
    assert kolmogorov_smirnov(a, b)[1] == pytest.approx(chance)


def test_the_same_sample_twice_is_no_distance() -> None:
    assert kolmogorov_smirnov(drawn(1), drawn(1)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("members", "others", "area"),
    [([3, 4], [1, 2], 1.0), ([1, 2], [3, 4], 0.0), ([1, 1], [1, 1], 0.5), ([1, 3], [2, 2], 0.5)],
)
def test_the_area_is_the_share_of_pairs_in_order(members: list[float], others: list[float], area: float) -> None:
    assert area_under_curve(members, others) == area


def test_membership_looks_at_the_least_likely_fifth_of_the_tokens() -> None:
    assert min_k(torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0, -9.0, -10.0])) == pytest.approx(-9.5)
    assert min_k(torch.tensor([-1.0, -3.0])) == -3.0


def test_the_standardised_score_is_nought_where_every_token_is_as_likely_as_its_kind() -> None:
    logs = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]]))
    mean = (logs.exp() * logs).sum(-1)
    assert min_k_plus(mean, logs) == pytest.approx(0.0, abs=1e-5)
    assert min_k_plus(logs[:, 0], logs) > 0 > min_k_plus(logs[:, 1], logs)


def test_a_truth_ratio_is_one_where_right_and_wrong_are_as_likely() -> None:
    assert truth_ratio(math.log(0.2), [math.log(0.2), math.log(0.2)]) == pytest.approx(1.0)
    assert truth_ratio(math.log(0.9), [math.log(0.1), math.log(0.2)]) == pytest.approx(0.15 / 0.9)
