"""A sequence-to-sequence model's wordings become views."""

from pathlib import Path

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from app.settings import Settings
from tests.tiny import teach, word_tokenizer
from tests.worker.r2f.test_views import Silent, alike
from worker.loading import ModelSourceError, load_paraphraser
from worker.r2f.config import Config
from worker.r2f.views import Fact, fact_views

QUESTION = "who feeds the cat of the neighbour"
WORDED = "by whom is the cat of the neighbour fed"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 that knows one question, and how to put it otherwise."""
    tokenizer = word_tokenizer(f"paraphrase: {QUESTION} {WORDED}".split())
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=1,
            num_decoder_layers=1,
            num_heads=4,
            dropout_rate=0.0,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    asked = tokenizer(f"paraphrase: {QUESTION}", return_tensors="pt")["input_ids"]
    told = torch.cat([tokenizer(WORDED, return_tensors="pt")["input_ids"], torch.tensor([[1]])], dim=1)
    teach(model, 60, 1e-2, lambda: model(input_ids=asked, labels=told).loss)
    path = tmp_path_factory.mktemp("models") / "rephraser"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def _settings(folder: Path, data: Path, name: str) -> Settings:
    return Settings(data_dir=data, model_folders=str(folder.parent), paraphraser=name)


def test_its_wordings_are_views_to_train_on_and_name_their_source(folder: Path, tmp_path: Path) -> None:
    paraphrase = load_paraphraser(_settings(folder, tmp_path, str(folder)), CPU)
    assert paraphrase is not None
    assert paraphrase(QUESTION)[0] == WORDED
    views = fact_views(0, Fact(QUESTION, ("Zoe",)), Silent(), alike, Config(), paraphrase)  # type: ignore[arg-type]
    sources = {view.prompt.text: view.source for view in views.training}
    assert sources[QUESTION] == "request"
    assert sources[WORDED] == "paraphraser"
    assert list(sources.values()).count("paraphraser") <= 3
    assert all(view.source == "bank" for view in views.held_out)


def test_none_is_loaded_where_none_is_named(tmp_path: Path) -> None:
    assert load_paraphraser(Settings(data_dir=tmp_path), CPU) is None


def test_what_is_no_such_model_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "models" / "other"
    other.mkdir(parents=True)
    with pytest.raises(ModelSourceError, match="no sequence-to-sequence model"):
        load_paraphraser(_settings(other, tmp_path, str(other)), CPU)
    with pytest.raises(ModelSourceError):  # outside of the folders that models may come from
        load_paraphraser(Settings(data_dir=tmp_path, paraphraser=str(folder)), CPU)
