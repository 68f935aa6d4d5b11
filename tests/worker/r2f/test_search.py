"""The step search lands where it is told to, with few forward passes."""

import math

import torch

from worker.r2f.path import MAX_TRIES, search_step


def test_a_log_linear_answer_is_hit_by_the_second_secant() -> None:
    trial, forwards = search_step(lambda step: torch.tensor([0.9 * math.exp(-step), 0.1]) ** 1.0, 0.3, 0.9, 0.11)
    assert 0.011 <= trial.worst <= 0.132
    assert forwards <= 4


def test_a_first_step_that_goes_too_far_is_taken_back() -> None:
    trial, _ = search_step(lambda step: torch.tensor([0.9 * math.exp(-5 * step)]), 3.0, 0.9, 0.09)
    assert 0.009 <= trial.worst <= 0.108
    assert trial.step < 1.0


def test_an_answer_that_no_step_moves_ends_the_search_without_claiming_success() -> None:
    trial, forwards = search_step(lambda step: torch.tensor([0.9]), 1.0, 0.9, 0.09)
    assert trial.worst > 0.09 * 1.2
    assert forwards == MAX_TRIES
