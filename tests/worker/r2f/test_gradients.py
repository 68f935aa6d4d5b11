"""LoRA gradients from hooks are those that autograd finds on a PEFT LoRA model."""

import copy
from collections.abc import Mapping

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel

from worker.r2f import forgetting
from worker.r2f.examples import Batch, Example, collate, demoted_mask
from worker.r2f.forgetting import Forgetting
from worker.r2f.forward import span_logits
from worker.r2f.gradients import (
    Factors,
    Sketch,
    Sketcher,
    aligned_factors,
    aligned_sketch,
    random_factors,
    sketch,
    visiting,
)
from worker.r2f.language import LanguageModel
from worker.r2f.losses import softened
from worker.r2f.sites import MODULES, NoSitesError, find_sites

RANK = 4
ALPHA = 12  # s = 3, so that a forgotten scale would show


OPENING = (11, 12, 13, 14)


def _batch(prefix: tuple[int, ...] = ()) -> tuple[Batch, torch.Tensor]:
    """Three examples of different lengths; all but the last start with the opening, as a plain text beside chats."""
    generator = torch.Generator().manual_seed(1)
    examples = []
    for length, start in ((9, OPENING), (7, OPENING), (12, ())):
        ids = (*start, *torch.randint(3, 97, (length - len(start),), generator=generator).tolist())
        examples.append(Example(ids, (length - 3, length - 2), ids[-2:], ((ids[-2], 5), (ids[-1],))))
    return collate(examples, 0, prefix=prefix), demoted_mask(examples, 97)


def _loss(model: PreTrainedModel, prefix: tuple[int, ...] = ()) -> torch.Tensor:
    batch, demoted = _batch(prefix)
    return (softened(span_logits(model, batch), batch.tokens, demoted) * batch.weights).sum()


def _factors(model: PreTrainedModel) -> dict[str, Factors]:
    return {site.name: tuple(f.double() for f in random_factors(site, RANK, 7)) for site in find_sites(model)}


def _sketches(
    model: PreTrainedModel, prefix: tuple[int, ...] = (), factors: Mapping[str, Factors] | None = None
) -> dict[str, Sketch]:
    sketcher = Sketcher(factors or _factors(model))
    with visiting(model, find_sites(model), sketcher):
        _loss(model, prefix).backward()
    return sketcher.sketches


def test_a_shared_opening_changes_no_logit_and_no_gradient(any_family: PreTrainedModel) -> None:
    (whole, _), (shared, _) = _batch(), _batch(OPENING)
    assert shared.mask[:2, len(OPENING) :].sum(1).tolist() == [length - len(OPENING) for length in (9, 7)]
    assert shared.mask.shape[1] == whole.mask.shape[1] + len(OPENING)  # the third shares nothing, and is the longest
    torch.testing.assert_close(span_logits(any_family, shared), span_logits(any_family, whole))
    apart = _sketches(any_family)
    for opening in (OPENING, OPENING[:-1]):  # nothing hangs on where the opening is cut
        together = _sketches(any_family, opening)
        for name, sketch_ in apart.items():
            torch.testing.assert_close(together[name].y, sketch_.y)
            torch.testing.assert_close(together[name].z, sketch_.z)


def test_some_rows_of_a_batch_are_what_they_were(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, demoted = _batch(OPENING)
    monkeypatch.setattr(forgetting, "AT_ONCE", 2 * batch.ids.shape[1])
    some = list(Forgetting(batch, demoted).parts())[1]
    assert some.batch.ids.shape[0] == 1
    kept = batch.rows == 2
    torch.testing.assert_close(span_logits(model, some.batch), span_logits(model, batch)[kept])
    assert torch.equal(some.batch.tokens, batch.tokens[kept])
    assert some.batch.rows.tolist() == [0, 0]
    assert some.batch.firsts.tolist() == [0]


def test_views_that_fill_more_than_one_pass_add_up_to_the_same(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, sites = LanguageModel(model, None, 64), find_sites(model)  # type: ignore[arg-type]
    views = Forgetting(*_batch(OPENING))

    def taken() -> tuple[torch.Tensor, torch.Tensor, dict[str, Sketch], torch.Tensor, torch.Tensor]:
        sketcher = Sketcher(_factors(model))
        with visiting(model, sites, sketcher):
            answer, pull = views.differentiate(lm)
        return answer, pull, sketcher.sketches, views.measure(lm), views.whole_answer(lm)

    whole = taken()
    monkeypatch.setattr(forgetting, "AT_ONCE", 2 * views.batch.ids.shape[1])
    assert [len(part.batch.ids) for part in views.parts()] == [2, 1]
    apart = taken()
    torch.testing.assert_close(apart[:2] + apart[3:], whole[:2] + whole[3:])
    for name, sketch_ in whole[2].items():
        torch.testing.assert_close(apart[2][name].y, sketch_.y)
        torch.testing.assert_close(apart[2][name].z, sketch_.z)
    monkeypatch.setattr(forgetting, "AT_ONCE", 1)  # a view that is longer than a pass goes alone
    assert [len(part.batch.ids) for part in views.parts()] == [1, 1, 1]


def test_hooks_find_the_gradients_of_a_peft_lora_model(any_family: PreTrainedModel) -> None:
    sketches = _sketches(any_family)
    sites = find_sites(any_family)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=sorted(MODULES), lora_dropout=0.0)
    peft = get_peft_model(copy.deepcopy(any_family), config).double()
    scale = ALPHA / RANK
    for site in sites:  # W' = W - sBA: the function stays as it was
        layer = peft.base_model.model.get_submodule(site.name)
        a, b = (factor.double() for factor in random_factors(site, RANK, 7))
        layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data = a.clone(), b.clone()
        layer.base_layer.weight.data -= scale * b @ a
    _loss(peft.base_model.model).backward()
    for site in sites:
        layer = peft.base_model.model.get_submodule(site.name)
        torch.testing.assert_close(sketches[site.name].z, layer.lora_A["default"].weight.grad / scale)
        torch.testing.assert_close(sketches[site.name].y, layer.lora_B["default"].weight.grad / scale)


def test_the_sketch_is_the_exact_gradient_between_the_factors(model: PreTrainedModel) -> None:
    exact: dict[str, torch.Tensor] = {}
    sites = find_sites(model)
    with visiting(model, sites, lambda site, x, d: exact.update({site.name: d.T @ x})):
        _loss(model).backward()
    whole = copy.deepcopy(model).requires_grad_(True)
    _loss(whole).backward()
    for site in sites:
        torch.testing.assert_close(exact[site.name], whole.get_submodule(site.name).weight.grad)
    aligned = {name: aligned_factors(taken) for name, taken in _sketches(model).items()}
    for name, taken in _sketches(model, factors=aligned).items():
        torch.testing.assert_close(taken.y, exact[name] @ taken.a.T)
        torch.testing.assert_close(taken.z, taken.b.T @ exact[name])


def test_aligned_factors_catch_more_of_the_gradient_than_random_ones() -> None:
    generator = torch.Generator().manual_seed(3)
    x, d = (torch.randn(40, 6, generator=generator) @ torch.randn(6, n, generator=generator) for n in (50, 70))
    x, d = x + 0.1 * torch.randn(40, 50, generator=generator), d + 0.1 * torch.randn(40, 70, generator=generator)
    a = torch.linalg.qr(torch.randn(50, RANK, generator=generator))[0].T
    b = torch.linalg.qr(torch.randn(70, RANK, generator=generator))[0]
    g = d.T @ x

    def missed(taken: Sketch) -> float:
        return float((g - taken.y @ taken.a).norm() / g.norm())

    assert missed(aligned_sketch(x, d, (a, b))) < 0.6 * missed(sketch(x, d, (a, b)))


def test_factors_are_orthonormal_and_fixed_by_the_seed(model: PreTrainedModel) -> None:
    site = find_sites(model)[0]
    a, b = random_factors(site, RANK, 7)
    torch.testing.assert_close(a @ a.T, torch.eye(RANK))
    torch.testing.assert_close(b.T @ b, torch.eye(RANK))
    assert torch.equal(a, random_factors(site, RANK, 7)[0])
    assert not torch.equal(a, random_factors(site, RANK, 8)[0])


def test_no_hook_stays_behind_when_a_visitor_raises(model: PreTrainedModel) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"), visiting(model, find_sites(model), refuse):
        _loss(model).backward()
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_without_llama_type_linears_is_refused() -> None:
    with pytest.raises(NoSitesError, match="no Llama-type linear layers"):
        find_sites(torch.nn.Sequential(torch.nn.Linear(2, 2)))
