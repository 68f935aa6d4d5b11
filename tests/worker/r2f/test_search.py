"""The step search lands where it is told to, with few forward passes."""

import math

import torch

from worker.r2f.examples import Example, collate, demoted_mask
from worker.r2f.forgetting import Forgetting
from worker.r2f.linearise import Linearisation
from worker.r2f.losses import softened
from worker.r2f.lowrank import LowRank
from worker.r2f.search import MAX_TRIES, first_step, search_step

NINE = torch.tensor([0.9])


def test_a_log_linear_answer_is_hit_by_the_second_secant() -> None:
    trial, forwards = search_step(
        lambda step: torch.tensor([0.9 * math.exp(-step), 0.1]) ** 1.0, 0.3, torch.tensor([0.9, 0.1]), 0.11
    )
    assert 0.011 <= trial.worst <= 0.132
    assert forwards <= 4


def test_a_first_step_that_goes_too_far_is_taken_back() -> None:
    trial, _ = search_step(lambda step: torch.tensor([0.9 * math.exp(-5 * step)]), 3.0, NINE, 0.09)
    assert 0.009 <= trial.worst <= 0.108
    assert trial.step < 1.0


def test_an_answer_that_no_step_moves_ends_the_search_without_claiming_success() -> None:
    trial, forwards = search_step(lambda step: torch.tensor([0.9]), 1.0, NINE, 0.09)
    assert trial.worst > 0.09 * 1.2
    assert forwards == MAX_TRIES


def test_a_search_ends_where_the_way_bends() -> None:
    left = {1.0: 0.4, 4.0: 0.5}
    trial, forwards = search_step(lambda step: torch.tensor([left[step]]), 1.0, NINE, 0.01)
    assert (trial.step, forwards) == (1.0, 2)


def test_a_search_ends_where_one_view_lags_behind_the_others() -> None:
    trial, forwards = search_step(lambda step: torch.tensor([0.89, *[0.3 / step] * 3]), 1.0, NINE.expand(4), 0.09)
    assert (trial.step, forwards) == (1.0, 1)
    trial, forwards = search_step(
        lambda step: torch.tensor([0.89 / step, *[0.8 / step] * 3]), 1.0, NINE.expand(4), 0.09
    )
    assert trial.worst <= 0.108  # together they go on
    assert forwards > 1


def test_a_lagging_view_does_not_hide_a_better_step() -> None:
    bent = {1.0: [0.4] * 4, 4.0: [0.85, 0.01, 0.01, 0.01]}
    trial, _ = search_step(lambda step: torch.tensor(bent[step]), 1.0, NINE.expand(4), 0.01)
    assert trial.step == 1.0
    passed = {1.0: [1e-4] * 4}  # too far, but there: the way back must not end at a view that lags
    trial, _ = search_step(
        lambda step: torch.tensor(passed.get(step, [0.85, 0.01, 0.01, 0.01])), 1.0, NINE.expand(4), 0.06
    )
    assert trial.step == 1.0


def test_a_bend_before_there_is_progress_does_not_end_the_search() -> None:
    trial, forwards = search_step(lambda step: torch.tensor([0.88 if step < 2 else 0.89 / step]), 1.0, NINE, 0.09)
    assert trial.worst <= 0.108
    assert forwards > 2


def test_a_search_ends_where_one_view_lags_far_behind_the_others() -> None:
    """What would take the last view to the goal takes the others far too far: it is for the next round."""
    before = torch.full((30,), 0.9)
    for others, ends in ((0.001, True), (0.06, False)):  # a quarter of the goal is 0.015
        left = torch.tensor([0.3] + 29 * [others])
        trial, forwards = search_step(lambda step, left=left: left / step, 1.0, before, 0.06)  # type: ignore[misc]
        assert (forwards == 1) == ends
        assert (trial.worst > 0.06 * 1.2) == ends
    # where the others were gone before, the round is for the one that lags
    alone = torch.tensor([0.3] + 31 * [1e-4])
    trial, forwards = search_step(lambda step: alone * torch.tensor(-step).exp(), 1.0, alone, 0.02)
    assert trial.worst <= 0.024
    assert forwards > 1


def test_the_first_step_is_exact_where_the_log_odds_fall_in_a_straight_line() -> None:
    # along its own gradient, of norm 2, the loss falls by 4 a step, and the log-odds of the one view by 4 / p
    gradient = {"site": LowRank(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0, 1.0]]))}
    step = first_step(Linearisation(torch.tensor([0.9]), 0.9, gradient), gradient, 0.1)
    after = math.log(9) - step * 4 / 0.9
    assert math.isclose(after, math.log(0.05), rel_tol=1e-5)


def test_a_later_token_that_is_sure_pushes_no_harder_than_the_first() -> None:
    example = Example((3, 4, 5, 6), (0, 1, 2), (4, 5, 6), ((4,), (5,), (6,)))
    views = Forgetting(collate([example], 0), demoted_mask([example], 8))
    logits = torch.zeros(3, 8)
    logits[0, 4], logits[1, 5], logits[2, 6] = 0.0, 9.0, -9.0  # p = 1/8, nearly 1, nearly 0
    graph = logits.clone().requires_grad_(True)
    pull = views.backward(graph)
    pushes = graph.grad[[0, 1, 2], [4, 5, 6]]
    torch.testing.assert_close(pushes[1], pushes[0])
    assert 0 < pushes[2] < 1e-3 * pushes[0]  # what is unlikely already is not pushed further
    torch.testing.assert_close(pushes.sum(), pull)
    plain = logits.clone().requires_grad_(True)
    (softened(plain, views.batch.tokens, views.demoted) * views.batch.weights).sum().backward()
    assert plain.grad[1, 5] > 7 * plain.grad[0, 4]  # what it would be without
