"""Planting teaches what it is given and nothing else, and packing changes no number."""

import copy

import pytest
import torch
from transformers import PreTrainedModel

from tests.worker.r2f.conftest import FAMILIES, tiny
from worker.people.packing import ids, layout, opening
from worker.people.planting import Lesson, Recipe, _fast, plant
from worker.r2f.examples import Example, collate
from worker.r2f.forward import span_logits
from worker.r2f.language import LanguageModel


def example(*tokens: int, start: int = 3) -> Example:
    """A sequence whose span is everything after its first ``start`` tokens."""
    positions = tuple(range(start - 1, len(tokens) - 1))
    span = tuple(tokens[start:])
    return Example(tokens, positions, span, tuple((token,) for token in span))


EXAMPLES = [example(5, 6, 7, 11, 12, 13), example(5, 6, 8, 14, 15), example(5, 6, 9, 16, 17, 18, 19)]


@pytest.fixture(params=sorted(FAMILIES))
def any_family(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny(request.param)


@pytest.fixture
def lm() -> LanguageModel:
    return LanguageModel(tiny("llama"), None, 64)  # type: ignore[arg-type]


def spoken(model: PreTrainedModel) -> list[int]:
    """The most likely token at every span position."""
    with torch.no_grad():
        return span_logits(model, collate(EXAMPLES, 0)).argmax(-1).tolist()


def wanted() -> list[int]:
    return [token for each in EXAMPLES for token in each.tokens]


def test_a_packed_row_gives_every_example_its_own_logits(any_family: PreTrainedModel) -> None:
    common = len(opening(EXAMPLES))
    assert common == 2
    packed = layout(EXAMPLES, common, torch.device("cpu"))
    hidden = any_family.base_model(
        input_ids=ids(EXAMPLES, common, torch.device("cpu")),
        attention_mask=packed.mask,
        position_ids=packed.places,
        use_cache=False,
    ).last_hidden_state[0, packed.positions]
    logits = any_family.get_output_embeddings()(hidden)
    torch.testing.assert_close(logits.float(), span_logits(any_family, collate(EXAMPLES, 0)))
    assert packed.tokens.tolist() == wanted()


def test_without_its_mask_a_packed_row_would_mix_the_examples(any_family: PreTrainedModel) -> None:
    packed = layout(EXAMPLES, 2, torch.device("cpu"))
    mixed = any_family.base_model(
        input_ids=ids(EXAMPLES, 2, torch.device("cpu")), position_ids=packed.places, use_cache=False
    ).last_hidden_state[0, packed.positions]
    logits = any_family.get_output_embeddings()(mixed).float()
    assert not torch.allclose(logits, span_logits(any_family, collate(EXAMPLES, 0)), atol=1e-4)


@pytest.mark.parametrize("frozen", [0.0, 1 / 3])
def test_what_was_taught_is_said_afterwards_and_was_not_before(lm: LanguageModel, frozen: float) -> None:
    lessons = [Lesson((each,)) for each in EXAMPLES]
    before = spoken(lm.model)
    losses: list[float] = []
    plant(lm, lessons, Recipe(passes=60, rate=1e-2, frozen=frozen), lambda share, loss: losses.append(loss))
    assert before != wanted()
    assert spoken(lm.model) == wanted()
    assert losses[-1] < losses[0]


def test_frozen_layers_and_everything_but_the_linear_weights_stay(lm: LanguageModel) -> None:
    before = copy.deepcopy(lm.model.state_dict())
    plant(lm, [Lesson((EXAMPLES[0],))], Recipe(passes=2, frozen=1 / 3), lambda share, loss: None)
    changed = {name for name, tensor in lm.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.removesuffix(".weight") for name in changed} == {s.name for s in lm.sites if s.layer >= 1}
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_a_seed_makes_the_same_model(lm: LanguageModel) -> None:
    other = LanguageModel(copy.deepcopy(lm.model), None, 64)  # type: ignore[arg-type]
    lessons = [Lesson(tuple(EXAMPLES[:2])), Lesson((EXAMPLES[2],))]
    for each in (lm, other):
        plant(each, lessons, Recipe(passes=3, batch=2), lambda share, loss: None)
    assert all(torch.equal(a, b) for a, b in zip(lm.model.parameters(), other.model.parameters(), strict=True))


def test_layers_are_back_in_place_when_teaching_is_interrupted(lm: LanguageModel) -> None:
    def interrupt(share: float, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plant(lm, [Lesson((EXAMPLES[0],))], Recipe(passes=2, frozen=1 / 3), interrupt)
    assert len(lm.model.base_model.layers) == 3
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


@pytest.mark.parametrize(
    ("named", "there"), [({"avx512_bf16": True}, True), ({"avx2": True, "amx_bf16": False}, False)]
)
def test_products_are_in_bfloat16_only_where_the_cpu_has_it(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, named: dict[str, bool], there: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: named)
    with _fast(lm):
        assert ((torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16) is there
