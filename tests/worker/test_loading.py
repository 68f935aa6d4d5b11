"""What a worker computes at its first start is there at the next."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from app.settings import Settings
from tests.worker.r2f.conftest import SIZES, tiny
from worker import loading
from worker.r2f.language import LanguageModel

TEXTS = ["w5 w6 w7", "w8 w9"]


class AskedAgainError(Exception):
    pass


@pytest.fixture
def lm() -> LanguageModel:
    words = Tokenizer(WordLevel({f"w{number}": number for number in range(SIZES["vocab_size"])}, unk_token="w3"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w2")
    return LanguageModel(tiny("llama"), tokenizer, 48)


def test_generic_replies_are_asked_for_once_and_again_for_other_weights(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = Settings(data_dir=tmp_path)
    first = loading._generic(lm, TEXTS, "weights", settings)

    def refuse(*_: object, **__: object) -> list[str]:
        raise AskedAgainError

    monkeypatch.setattr(LanguageModel, "replies", refuse)
    again = loading._generic(lm, TEXTS, "weights", settings)
    assert (again.prompts, again.replies) == (first.prompts, first.replies)
    assert again.drift.reference.equal(first.drift.reference)
    for changed in ((TEXTS, "other weights", settings), (TEXTS[:1], "weights", settings)):
        with pytest.raises(AskedAgainError):
            loading._generic(lm, *changed)
    with pytest.raises(AskedAgainError):
        loading._generic(lm, TEXTS, "weights", settings.model_copy(update={"dtype": "bfloat16"}))


def test_what_the_hub_has_may_not_send_its_reader_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = Settings(data_dir=tmp_path, allow_hub=True)
    fetched = tmp_path / "snapshot"
    fetched.mkdir()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(fetched))
    assert loading._fetched("someone/model", None, settings) == fetched
    index = fetched / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    assert loading._fetched("someone/model", None, settings) == fetched
    index.write_text('{"weight_map": {"a": "../../private/model.safetensors"}}')
    with pytest.raises(loading.ModelSourceError, match="outside of its own folder"):
        loading._fetched("someone/model", None, settings)
    index.unlink()
    (fetched / "adapter_config.json").write_text("{}")
    with pytest.raises(loading.ModelSourceError):
        loading._fetched("someone/model", None, settings)
