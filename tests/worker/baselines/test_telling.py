"""Which tokens of an answer tell it, and what p(answer) is where one alone does not."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import llama, teach, word_tokenizer
from worker.r2f.config import FALL, Config
from worker.r2f.examples import Example, collate, demoted_mask
from worker.r2f.forgetting import Forgetting, part
from worker.r2f.forward import span_logits
from worker.r2f.knowledge import LEAD, probe, rooms
from worker.r2f.language import LanguageModel
from worker.r2f.telling import chance, marked, telling, told_by
from worker.r2f.text import Form, Prompt
from worker.r2f.views import View, Views

NUMBERS = {
    "Anna Keller": "9 4 - 5 5 5 - 0 1 7 6",
    "Martin Hughes": "2 8 - 5 5 5 - 0 1 3 2",
    "Sofia Almeida": "9 7 - 5 5 5 - 0 1 4 8",
    "Peter Lindqvist": "9 1 - 5 5 5 - 0 1 9 1",
    "Laura Bennett": "2 6 - 5 5 5 - 0 1 8 3",
}
ASKED = "the phone number of {} is"


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """A model that knows some people's numbers, which look alike."""
    words = {word for name in NUMBERS for word in ASKED.format(name).split()}
    tokenizer = word_tokenizer(sorted({*words, *"0123456789-"}))
    model = llama(tokenizer, 64, hidden_size=48, intermediate_size=96)
    lm = LanguageModel(model, tokenizer, 64)
    batch = collate([_example(lm, name) for name in NUMBERS], lm.pad)
    teach(model, 80, 5e-3, lambda: torch.nn.functional.cross_entropy(span_logits(model, batch), batch.tokens))
    model.requires_grad_(False)
    model.train(False)
    return lm


def _example(lm: LanguageModel, name: str) -> Example:
    made = lm.example(Prompt(ASKED.format(name), Form.PLAIN), NUMBERS[name], [NUMBERS[name]])
    assert made is not None
    return made


def test_what_is_sure_of_anybody_is_form_and_tells_nothing(lm: LanguageModel) -> None:
    name = "Anna Keller"
    found = chance(
        lm, _example(lm, name), Prompt(ASKED.format(name), Form.PLAIN), NUMBERS[name], [NUMBERS[name]], seed=0
    )
    assert found is not None
    assert float(found[2:9].min()) > 0.5  # - 5 5 5 - 0 1
    assert 0.02 < float(found[:2].min()) < 0.5  # 9 4: others' numbers begin so too
    told = telling(found)
    assert set(told) & {0, 1}
    assert not set(told) & set(range(2, 9))


def test_where_nobody_is_named_nothing_is_told(lm: LanguageModel) -> None:
    assert chance(lm, _example(lm, "Anna Keller"), Prompt("the number is", Form.PLAIN), "9", ["9"], seed=0) is None


def test_a_name_that_the_context_has_no_room_for_is_left_out(lm: LanguageModel) -> None:
    name = "Anna Keller"
    example, prompt = _example(lm, name), Prompt(ASKED.format(name), Form.PLAIN)
    small = LanguageModel(lm.model, lm.tokenizer, len(example.ids) - 1)  # none fits
    assert chance(small, example, prompt, NUMBERS[name], [NUMBERS[name]], seed=0) is None


@pytest.mark.parametrize(
    ("chances", "told"),
    [
        ([0.001, 0.9, 0.1], (0,)),  # the first token tells by itself
        ([0.1, 1.0, 0.2], (0, 2)),
        ([0.9, 0.001], (1,)),
        ([0.1, 0.9, 1.0], (0, 1, 2)),  # "7" would go from every number: what was learnt with it tells as well
        ([0.9, 0.9], (0, 1)),
        ([0.1], (0,)),
    ],
)
def test_the_first_token_tells_unless_it_is_common(chances: list[float], told: tuple[int, ...]) -> None:
    assert telling(torch.tensor(chances)) == told


def test_knowledge_marks_every_spelling_once(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def counted(lm, example, *rest):  # type: ignore[no-untyped-def]
        asked.append(example.tokens)
        return chance(lm, example, *rest)

    monkeypatch.setattr("worker.r2f.knowledge.chance", counted)
    name = "Anna Keller"
    unnamed, view = (
        View(0, Prompt(text, Form.PLAIN), (NUMBERS[name],), "given", "request")
        for text in (ASKED.format(name).replace("Anna Keller", "Keller").lower(), ASKED.format(name))
    )
    monkeypatch.setattr(LanguageModel, "replies", lambda self, prompts, tokens: [NUMBERS[name]] * len(prompts))
    known = probe(lm, Views((unnamed, view, view), (view,), ()), Config(reply_tokens=12), lambda share: None)
    assert len(known.examples) == 3
    assert len(asked) == 2  # the first names nobody, the second tells for all
    told = {example.telling for example in known.examples}
    assert len(told) == 1
    assert told != {(0,)}


def test_p_answer_is_that_of_the_telling_tokens() -> None:
    example = Example((3, 4, 5, 6), (0, 1, 2), (4, 5, 6), ((4, 7), (5,), (6,)))
    rows = [marked(example, told) for told in ((0, 2), (0,), (1, 2))]
    views = Forgetting(collate(rows, 0), demoted_mask(rows, 8))
    logits = torch.randn(9, 8, generator=torch.Generator().manual_seed(0))
    p = logits.softmax(-1)
    wanted = [p[0, 4] * p[2, 6], p[3, 4] + p[3, 7], p[7, 5] * p[8, 6]]
    torch.testing.assert_close(views.answer(logits), torch.stack(wanted))
    weights = views.even(logits) / views.batch.weights
    mass = (p * views.demoted).sum(-1)
    shares = (torch.stack(wanted).repeat_interleave(3) / mass.clamp_min(1e-30)).clamp(max=1)
    first, _, last = part(torch.stack(wanted), torch.tensor([2, 1, 2])).tolist()
    parts = torch.tensor([first, 0, first, 1, 1, 1, 0, last, last])
    torch.testing.assert_close(weights, shares * parts)
    assert [row.demoted[0] for row in rows] == [(4,), (4, 7), ()]  # a common start is let be, however it is spelled
    only = views._of(torch.tensor([1]))
    torch.testing.assert_close(only.answer(logits[3:6]), torch.stack(wanted[1:2]))
    alone = marked(Example((3, 4, 5), (0, 1), (4, 5), ((4,), (5,))), (1,))
    plain = Forgetting(collate([alone], 0), demoted_mask([alone], 8))
    torch.testing.assert_close(plain.even(logits[:2]) / plain.batch.weights, torch.tensor([0.0, 1.0]))
    graph = logits[:2].clone().requires_grad_(True)
    assert plain.backward(graph).isfinite()
    assert graph.grad[0].abs().max() == 0
    assert graph.grad[1, 5] > 0


@pytest.mark.parametrize("tokens", [1, 2, 12])
@pytest.mark.parametrize("p", [1 - 1e-7, 0.9, 0.01])
def test_several_tokens_fall_together_as_far_as_one(tokens: int, p: float) -> None:
    product, one = torch.tensor([p], dtype=torch.float64), torch.tensor([1])
    share = part(product, torch.tensor([tokens]))
    assert part(product, one) == 1
    assert 1 / tokens <= float(share) <= 1
    lost = torch.logit(product) - torch.logit(product / FALL)  # by one token that tells it alone
    each = torch.sigmoid(torch.logit(product ** (1 / tokens)) - share * lost)
    torch.testing.assert_close(each**tokens, product / FALL)


def test_a_spelling_that_could_not_be_asked_for_is_told_like_the_others(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = NUMBERS["Anna Keller"]
    short = number.removeprefix("9 ")
    views = [View(0, Prompt(ASKED.format(name), Form.PLAIN), (number, short), "given", "request") for name in NUMBERS]
    monkeypatch.setattr(LanguageModel, "replies", lambda self, prompts, tokens: [number, short])
    monkeypatch.setattr(
        "worker.r2f.knowledge.chance", lambda lm, example, *rest: _chance_of(example, len(number.split()))
    )
    known = probe(lm, Views(tuple(views[:2]), (), ()), Config(reply_tokens=12), lambda share: None)
    assert [example.telling for example in known.examples] == [(0, 1), tuple(range(len(short.split())))]


def _chance_of(example: Example, tokens: int) -> torch.Tensor | None:
    """Nobody can be told from one of two prompts, and so nothing of the spelling that is given there."""
    return torch.tensor([0.3, 0.1] + [1.0] * (tokens - 2)) if len(example.tokens) == tokens else None


def test_a_long_answer_has_room_to_be_given(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = " ".join("0123456789" * 4)
    view = View(0, Prompt("the phone number", Form.PLAIN), (answer,), "given", "request")

    def recited(self: LanguageModel, prompts: list[Prompt], tokens: list[int]) -> list[str]:
        return [" ".join(answer.split()[:room]) for room in tokens]

    monkeypatch.setattr(LanguageModel, "replies", recited)
    assert probe(lm, Views((view,), (), ()), Config(reply_tokens=12), lambda share: None).examples
    assert rooms(lm, [(answer,), ("0", "1")], 12) == [40 + LEAD, 1 + LEAD]
    assert rooms(lm, [("0",)], 64) == [64]


def test_other_spellings_are_told_by_like_tokens() -> None:
    known = [replace(_row((2, 3, 4)), telling=(0, 2)), _row((9, 9))]
    assert told_by(_row((2, 3, 4)), known).telling == (0, 2)
    assert told_by(_row((7, 3, 4)), known).telling == (0, 2)  # with a space before it, or in another case
    assert told_by(_row((2, 3, 4, 5)), known).telling == (0, 1, 2, 3)
    assert told_by(_row((2, 3), target=1), known).telling == (0,)
    assert told_by(_row((2, 3)), known[1:]).telling == (0,)


def _row(tokens: tuple[int, ...], target: int = 0) -> Example:
    return Example((1, *tokens), tuple(range(len(tokens))), tokens, tuple((token,) for token in tokens), target)


def test_where_the_answer_does_not_hang_on_the_name_all_of_it_tells(lm: LanguageModel) -> None:
    """Of two names the wrong one was taken: what is said then is still the right one's."""
    text = "Paris - " + ASKED.format("anna keller")
    example = lm.example(Prompt(text, Form.PLAIN), NUMBERS["Anna Keller"], [NUMBERS["Anna Keller"]])
    assert example is not None
    likely = chance(lm, example, Prompt(text, Form.PLAIN), NUMBERS["Anna Keller"], [NUMBERS["Anna Keller"]], 0)
    assert likely is not None
    assert telling(likely) == tuple(range(len(example.tokens)))  # not its first digit, which others' have too
