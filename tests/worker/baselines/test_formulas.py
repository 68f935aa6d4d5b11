"""The losses are those of their papers."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from app.methods import Method
from worker.baselines.catalogue import BASELINES
from worker.baselines.deepcut import contrast
from worker.baselines.eco import fit
from worker.baselines.flat import flat_loss
from worker.baselines.gradients import ExactGradient, flat
from worker.baselines.logit_filtration import filter_of
from worker.baselines.lora_gradient import two_sided
from worker.baselines.npo import npo_loss
from worker.baselines.rmu import RMU
from worker.baselines.scrub import raises
from worker.baselines.sequences import batch_of, divergence, nll
from worker.baselines.shred import demoted_teacher, telling
from worker.baselines.simnpo import simnpo_loss
from worker.baselines.sku import SKU, mismatched
from worker.baselines.task import Task, Unlearned
from worker.r2f.adaptation import Adaptation
from worker.r2f.finetuning import DivergedError, Training, train
from worker.r2f.forgetting import Forgetting
from worker.r2f.gradients import random_factors
from worker.r2f.language import LanguageModel
from worker.r2f.linearise import Linearise
from worker.r2f.lowrank import LowRank


def _logs(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_npo_is_its_formula_and_tends_to_gradient_ascent_for_small_beta() -> None:
    logs, reference = _logs(-1.0, -3.0), torch.tensor([-2.0, -1.0], dtype=torch.float64)
    ratio = (logs.detach() - reference).exp()
    torch.testing.assert_close(npo_loss(logs, reference, 0.5).detach(), (4 * torch.log(1 + ratio**0.5)).mean())
    npo_loss(logs, reference, 1e-6).backward()
    torch.testing.assert_close(
        logs.grad, torch.full((2,), 0.5, dtype=torch.float64), atol=1e-5, rtol=0
    )  # of mean(log π): ascent
    steep = _logs(-1.0, -30.0)
    npo_loss(steep, reference, 0.5).backward()
    assert steep.grad[1] < 1e-3 * steep.grad[0]  # the forgotten weighs no more, which ascent's would


def test_simnpo_normalises_by_length_and_knows_no_reference() -> None:
    mean_logs = _logs(-0.5, -2.0)
    loss = simnpo_loss(mean_logs, 2.0, 0.3)
    wanted = [-math.log(1 / (1 + math.exp(-(-2.0 * m - 0.3)))) for m in (-0.5, -2.0)]
    assert float(loss.detach()) == pytest.approx(sum(wanted) / 2)
    loss.backward()
    assert mean_logs.grad[0] > mean_logs.grad[1] > 0  # the better known is pushed harder


def test_flat_lowers_the_answer_and_raises_the_template() -> None:
    template, forget = _logs(0.2), _logs(0.7)
    loss = flat_loss(template, forget)
    assert float(loss.detach()) == pytest.approx(0.5 * math.tanh(0.7) - 0.5 * math.tanh(0.2))
    loss.backward()
    assert template.grad < 0 < forget.grad


def test_the_divergence_is_kl_and_zero_only_for_equal_distributions() -> None:
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reference = torch.log_softmax(logits.flip(0), -1)
    wanted = torch.nn.functional.kl_div(logits.log_softmax(-1), reference, log_target=True, reduction="batchmean")
    torch.testing.assert_close(divergence(reference, logits), wanted)
    assert float(divergence(logits.log_softmax(-1), logits)) == pytest.approx(0, abs=1e-12)
    assert float(wanted) > 0.1


def test_scrub_raises_every_other_step_and_begins_and_ends_by_mending() -> None:
    assert [raises(step, 2) for step in range(6)] == [False, True, False, True, False, False]


def test_shred_demotes_the_answers_tokens_alone(task: Task) -> None:
    answer, other = task.forget[0], task.retain[0]
    whole = replace(answer, positions=(0, 1, *answer.positions), tokens=(*answer.ids[1:3], *answer.tokens))
    kept = replace(other, positions=(0, 1), tokens=other.ids[1:3])
    told = telling([whole, kept], task.forget)
    assert told.tolist() == [2]
    logits = torch.randn(5, len(task.lm.tokenizer), generator=torch.Generator().manual_seed(0))
    teacher = demoted_teacher(logits, batch_of(task, [whole, kept]), told, 10.0)
    before = logits.log_softmax(-1)
    assert [n for n in range(5) if not torch.allclose(teacher[n], before[n])] == [2]
    assert teacher[2, answer.tokens[0]] < before[2, answer.tokens[0]] - 5


def test_deepcut_pushes_anchors_from_their_class_to_others() -> None:
    one, two = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert contrast(one, two, one, 0.5) < contrast(one, one, two, 0.5)
    assert float(contrast(one, one, two, 0.5)) == pytest.approx(2.0)  # −(0 − 1 / τ)


def test_sku_subtracts_what_it_learnt(task: Task) -> None:
    once, twice = (SKU(Training(steps=3), strength=strength)(task).update for strength in (1.0, 2.0))
    for name, part in once.items():
        torch.testing.assert_close(twice[name].left @ twice[name].right, 2 * part.left @ part.right)
    assert any(part.left.abs().sum() > 0 for part in once.values())


def test_sku_puts_other_replies_after_the_forgotten_prompts(task: Task) -> None:
    made = mismatched(task)
    assert len(made) == len(task.prompts)
    for prompt, example in zip(task.prompts, made, strict=True):
        head = task.lm.encode(task.lm.render(prompt))
        assert example.ids == (*head, *example.tokens)
        assert tuple(example.ids[place + 1] for place in example.positions) == example.tokens
        assert example.tokens in {other.tokens for other in task.retain}


def test_rmu_moves_the_named_layers_alone(task: Task) -> None:
    method = RMU(Training(rate=3e-2, steps=3), layer=0.5)
    moved = {name for name, part in method(task).update.items() if (part.left @ part.right).abs().sum() > 0}
    assert moved == {f"model.layers.{layer}.mlp.down_proj" for layer in (0, 1, 2)}
    assert len(task.lm.sites) > len(moved)


def test_the_exact_gradient_is_autograds(task: Task) -> None:
    double = LanguageModel(copy.deepcopy(task.lm.model).double(), task.lm.tokenizer, task.lm.context)
    views, site = Forgetting.of(double, task.forget), double.sites[5]
    weight = double.model.get_submodule(site.name).weight.requires_grad_(True)
    taken = ExactGradient(double)(views).gradient[site.name]
    torch.testing.assert_close(taken.left @ taken.right, weight.grad)


def test_lora_updates_are_the_gradient_between_their_factors_and_miss_most_of_it(task: Task) -> None:
    views, missed, whole = Forgetting.of(task.lm, task.forget), 0.0, 0.0
    exact = ExactGradient(task.lm)(views).gradient
    taken = Linearise(task.lm, two_sided, task.config, align=False)(views).gradient
    for site in task.lm.sites:
        a, b = random_factors(site, task.config.sketch_rank, task.config.seed)
        g, seen = (part[site.name].left @ part[site.name].right for part in (exact, taken))
        torch.testing.assert_close(seen, g @ a.T @ a + b @ b.T @ g - b @ b.T @ g @ a.T @ a, rtol=1e-3, atol=1e-6)
        missed, whole = missed + float((g - seen).square().sum()), whole + float(g.square().sum())
    assert missed > 0.5 * whole


def test_a_collapsed_product_is_the_same_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    wide = LowRank(torch.randn(5, 40, generator=generator), torch.randn(40, 7, generator=generator))
    assert wide.collapsed().rank == 5
    torch.testing.assert_close(wide.collapsed().left @ wide.collapsed().right, wide.left @ wide.right)


def test_without_curvature_the_direction_is_the_gradient(task: Task) -> None:
    gradient = ExactGradient(task.lm)(Forgetting.of(task.lm, task.forget)).gradient
    direction = flat(task.curvature).precondition(task.lm.sites, gradient, 0.0)
    for name, part in gradient.items():
        torch.testing.assert_close(direction[name].left @ direction[name].right, part.left @ part.right)


def test_the_filter_changes_the_answers_logits_alone_and_not_what_is_like_the_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    kept = torch.randn(6, 9, generator=generator)
    forgotten = kept.mean(0) + torch.eye(9)[2] * 8
    demoted = torch.zeros(9, dtype=torch.bool)
    demoted[2] = True
    made = filter_of(forgotten[None], kept, demoted, 1.0)
    torch.testing.assert_close(made(kept.mean(0)), kept.mean(0))
    after = made(forgotten)
    assert float(after[2] - kept.mean(0)[2]) == pytest.approx(0.0, abs=1e-4)
    torch.testing.assert_close(after[~demoted], forgotten[~demoted])


def test_ecos_classifier_tells_the_forgotten_from_the_rest(task: Task) -> None:
    classifier = fit(task.embed, ["name aland :"], ["name borea :", "name corvo :"], 1e-3)
    flagged = classifier(["the aland city", "the delos city"]) > 0.5
    assert flagged.tolist() == [True, False]


def test_training_that_leaves_the_finite_numbers_says_so(task: Task) -> None:
    with pytest.raises(DivergedError, match="lower rate"):
        train(task.lm, Training(), 2, 0, lambda step: torch.tensor(math.nan))
    assert not any(module._forward_hooks for module in task.lm.model.modules())


def test_a_last_step_that_leaves_the_finite_numbers_says_so_too(task: Task) -> None:
    batch = batch_of(task, task.forget)
    with pytest.raises(DivergedError, match="lower rate"):
        train(task.lm, Training(rate=math.inf, steps=1), 2, 0, lambda step: nll(task.lm, batch))


def test_ascent_goes_up_the_loss_that_training_goes_down(task: Task) -> None:
    forget = batch_of(task, task.forget)
    done = BASELINES[Method.GRADIENT_ASCENT](task)
    assert isinstance(done, Unlearned)
    learnt = train(task.lm, Training(steps=3), 4, 0, lambda step: nll(task.lm, forget))
    with Adaptation(task.lm.model, task.lm.sites) as adaptation, torch.no_grad():
        base = float(nll(task.lm, forget))
        adaptation.use(learnt)
        down = float(nll(task.lm, forget))
        adaptation.use(done.update)
        up = float(nll(task.lm, forget))
    assert down < base < up
