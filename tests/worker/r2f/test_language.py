"""Replies are those of the library's own greedy search, whoever shares the batch."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from tests.tiny import word_tokenizer
from worker.r2f import language
from worker.r2f.forward import shared_cache
from worker.r2f.language import SHARED, LanguageModel, PromptTooLongError
from worker.r2f.text import Form, Prompt, not_telling


@pytest.fixture
def lm(model: PreTrainedModel) -> LanguageModel:
    return LanguageModel(model, word_tokenizer(f"w{n}" for n in range(3, 97)), 48)


PROMPTS = [Prompt(text, Form.PLAIN) for text in ("w5 w9 w33", "w71", "w8 w9 w10 w11 w12 w13 w14", "w44 w3")]


def test_replies_match_the_librarys_greedy_search(lm: LanguageModel) -> None:
    for prompt in PROMPTS:
        ids = torch.tensor([lm.encode(prompt.text)])
        out = lm.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0
        )
        assert lm.replies([prompt], 12) == [lm.decode(out[0, ids.shape[1] :].tolist())]
    assert lm.replies(PROMPTS, 12) == [lm.replies([prompt], 12)[0] for prompt in PROMPTS]


def test_a_row_that_ends_early_does_not_change_the_others(lm: LanguageModel) -> None:
    alone = [lm.replies([prompt], 12)[0].split() for prompt in PROMPTS]
    # make the third word of the first reply the end: that row leaves the batch there
    lm.tokenizer.eos_token = alone[0][2]
    shortened = [reply.split() for reply in lm.replies(PROMPTS, 12)]
    end = alone[0][2]
    assert shortened == [reply[: reply.index(end)] if end in reply else reply for reply in alone]
    assert len(shortened[0]) < len(alone[0])


def test_a_guess_saves_time_but_never_changes_a_reply(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = lm.replies(PROMPTS, 12)
    half = [" ".join([*reply.split()[:5], "w50"]) for reply in plain]
    for guesses in (plain, half, ["w50"] * len(plain), [""] * len(plain), plain[::-1]):
        assert lm.replies(PROMPTS, 12, guesses=guesses) == plain
    asked: list[int] = []
    generate = lm._generate

    def counted(_: LanguageModel, heads: list[list[int]], rooms: list[int], batch: int) -> list[list[int]]:
        asked.append(len(heads))
        return generate(heads, rooms, batch)

    monkeypatch.setattr(LanguageModel, "_generate", counted)
    lm.replies(PROMPTS, 12, guesses=plain)
    lm.replies(PROMPTS, 12, guesses=half)
    assert asked == [0, len(PROMPTS)]


def test_replies_do_not_depend_on_a_shared_opening(lm: LanguageModel) -> None:
    chats = [Prompt(text.text) for text in PROMPTS]
    before = lm.replies([*chats, *PROMPTS], 12)
    lm.tokenizer.chat_template = "w60 w61 w62 {{ messages[0]['content'] }} w63"
    fresh = LanguageModel(lm.model, lm.tokenizer, lm.context)
    assert fresh.opening == tuple(fresh.encode("w60 w61 w62"))
    spelt = [Prompt(f"w60 w61 w62 {text.text} w63", Form.PLAIN) for text in PROMPTS]
    assert fresh.replies([*chats, *PROMPTS], 12) == [*lm_alone(fresh, spelt), *before[len(chats) :]]
    assert fresh.replies([*chats, *PROMPTS], 12)[: len(chats)] != before[: len(chats)]


def test_what_all_prompts_start_with_is_read_once(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    start = " ".join(f"w{n}" for n in range(5, 5 + SHARED))
    prompts = [Prompt(f"{start} {text}", Form.PLAIN) for text in ("w20", "w20", "w20 w71", "w20 w8 w9")]
    few = [Prompt(prompt.text.partition(" ")[2], Form.PLAIN) for prompt in prompts]
    alone, read = lm_alone(lm, [*prompts, *few]), []
    monkeypatch.setattr(language, "shared_cache", lambda *given: read.append(given[1].tolist()) or shared_cache(*given))
    assert [*lm.replies(prompts, 12), *lm.replies(few, 12)] == alone
    assert read == [lm.encode(start)]  # but for the last token of the shortest, and not for a few tokens


def lm_alone(lm: LanguageModel, prompts: list[Prompt]) -> list[str]:
    """One at a time: nothing is shared."""
    return [lm.replies([prompt], 12)[0] for prompt in prompts]


def test_samples_are_fixed_by_their_seed(lm: LanguageModel) -> None:
    one = lm.samples(PROMPTS, 12, seed=1)
    assert one == lm.samples(PROMPTS, 12, seed=1)
    assert one != lm.samples(PROMPTS, 12, seed=2)


def test_a_span_is_the_answers_tokens_and_their_predecessors(lm: LanguageModel) -> None:
    example = lm.example(PROMPTS[0], "w7 w20 w21 w9", ["w20 w21"], target=3)
    assert example is not None
    assert example.tokens == (20, 21)
    assert [example.ids[place + 1] for place in example.positions] == [20, 21]
    assert len(example.ids) == 6  # cut after the answer
    assert example.target == 3
    assert lm.example(PROMPTS[0], "w7 w9", ["w20"]) is None


@pytest.fixture
def letters(model: PreTrainedModel) -> LanguageModel:
    """A model whose tokens are the bytes of a text, so that nothing that stands between words is lost."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    coder = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    coder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    coder.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=coder, eos_token="<end>")
    return LanguageModel(model, wrapped, 48)


@pytest.mark.parametrize(
    ("text", "said", "answer"),
    [
        ("lives at", " 12 Elm Street", "Elm Street"),
        ("Invoice for\nJohn Doe", "\n12 Elm Street", "Elm Street"),
        ("lives at", ": Elm Street", "Elm Street"),
        ("lives at", ' "Elm Street"', "Elm Street"),
        ("a salary of $", "45,000", "45,000"),
        ("born in Leeds (", "1948)", "1948"),
        ("the code is 77", "1948", "1948"),
        ("she lives in ", "Leeds", "Leeds"),
        ("他住在", "京都市", "京都"),
        ("他叫", "Li的朋友", "Li"),
    ],
)
def test_a_replys_example_goes_on_from_its_prompt_as_the_model_did(
    letters: LanguageModel, text: str, said: str, answer: str
) -> None:
    prompt, whole = Prompt(text, Form.PLAIN), tuple(letters.encode(text + said))
    reply = letters._text(letters.encode(said))
    example, replied = letters.example(prompt, reply, [answer]), letters.whole_reply(prompt, reply)
    assert example is not None
    assert example.positions
    assert example.ids == whole[: len(example.ids)]
    assert letters.decode(example.tokens).endswith(answer[-1])
    assert replied is not None
    assert replied.ids == whole
    assert letters._draft(prompt, reply, 99) == [*letters.encode(said), letters.end]


def test_a_replys_tokens_are_those_that_the_model_said_even_where_one_text_has_others(model: PreTrainedModel) -> None:
    """A template's last line's end and a reply's first ones are one token as long as they are one text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    alphabet += ["ĊĊ", "ĊĊĊ"]
    coder = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, [("Ċ", "Ċ"), ("ĊĊ", "Ċ")]))
    coder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    coder.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=coder, eos_token="<end>")
    wrapped.chat_template = "{{ messages[0]['content'] }}:{{ '\n' }}"
    lm, prompt = LanguageModel(model, wrapped, 48), Prompt("where")
    asked, said = lm.encode(lm.render(prompt)), lm.encode("\n\nLeeds")
    assert lm.encode(lm.render(prompt) + "\n\nLeeds") != [*asked, *said], "nothing to show"
    reply = lm._text(said)
    example, replied = lm.example(prompt, reply, ["Leeds"]), lm.whole_reply(prompt, reply)
    assert example is not None
    assert replied is not None
    assert example.ids == replied.ids == (*asked, *said)
    assert lm._draft(prompt, reply, 99) == [*said, lm.end]


def test_a_text_begins_with_the_token_that_the_models_tokenizer_begins_with(letters: LanguageModel) -> None:
    plain = letters.encode(letters.render(Prompt("w5", Form.PLAIN)))
    coder = letters.tokenizer.backend_tokenizer
    letters.tokenizer.add_special_tokens({"bos_token": "<begin>"})
    bos = letters.tokenizer.bos_token_id
    coder.post_processor = processors.TemplateProcessing("<begin> $A", special_tokens=[("<begin>", bos)])
    fresh = LanguageModel(letters.model, letters.tokenizer, letters.context)
    assert fresh.encode(fresh.render(Prompt("w5", Form.PLAIN))) == [bos, *plain]
    assert fresh.encode(fresh.render(Prompt("w5"))) == [bos, *plain]  # there is no template
    example = fresh.example(Prompt("it is", Form.PLAIN), " Leeds", ["Leeds"])
    assert example is not None
    assert example.ids == (bos, *letters.encode("it is Leeds"))
    fresh.tokenizer.chat_template = "<begin>{{ messages[0]['content'] }}"
    assert fresh.encode(fresh.render(Prompt("w5"))) == [bos, *plain]


def test_a_prompt_beyond_the_context_is_refused(lm: LanguageModel) -> None:
    with pytest.raises(PromptTooLongError, match="longer than the model's context"):
        lm.replies([Prompt("w5 " * 50, Form.PLAIN)], 4)


@pytest.mark.parametrize(
    ("text", "ends", "told"),
    [
        ("so islam is", [5, 8], 1),  # is|lam: the word goes on
        ("so is it", [5], 0),  # is, a word of its own
        ("so Xamarin.", [4, 6, 10], 1),  # X|am|arin: Xam tells
        ("so Paris", [8], 0),
        ("so St. Louis", [5, 6, 12], 0),  # what follows is no letter
        ("so 1776", [4, 5, 6, 7], 0),  # digits are told one by one
        ("so Łódź", [4, 7], 0),
    ],
)
def test_an_answer_is_told_from_the_token_that_no_other_word_begins_with(text: str, ends: list[int], told: int) -> None:
    assert not_telling(text, 3, ends) == told
