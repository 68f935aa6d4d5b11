"""The stranger asks a model with and without an adapter through plain transformers and peft."""

import ast
from pathlib import Path

import peft
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from app.demo_service import AskFailed, ask
from worker.ask import ask as ask_one

SCRIPT = Path(__file__).resolve().parents[2] / "worker" / "ask.py"
WORDS = ["<end>", "what", "is", "the", "capital", "of", "france", "paris", "rome", "?"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny model with a tokenizer, and an adapter that changes what it says."""
    model, adapter = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("adapter")
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>").save_pretrained(model)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    base = transformers.LlamaForCausalLM(config)
    base.save_pretrained(model)
    lora = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=["down_proj"], task_type="CAUSAL_LM"))
    for name, weights in lora.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weights, std=10.0)
    lora.save_pretrained(str(adapter))
    return model, adapter


def test_it_imports_nothing_of_the_project():
    tree = ast.parse(SCRIPT.read_text("utf-8"))
    named = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    named |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {str(name).partition(".")[0] for name in named} == {"json", "sys", "typing", "torch", "peft", "transformers"}


def test_it_answers_every_prompt_with_and_without_the_adapter(folders: tuple[Path, Path]):
    model, adapter = folders
    questions = [{"text": "what is the capital of france ?", "chat": True}, {"text": "paris is", "chat": False}]
    replies = ask(str(model), adapter, questions)
    assert [len(replies["base"]), len(replies["adapted"])] == [2, 2]
    assert replies["base"] != replies["adapted"]
    assert replies == ask(str(model), adapter, questions)


def test_a_bare_text_begins_as_the_tokenizer_begins_it_and_a_template_as_it_says():
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["<end>", "<begin>", "paris", "is"])}))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing("<begin> $A", special_tokens=[("<begin>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<begin>", eos_token="<end>", unk_token="<end>"
    )
    seen: list[list[int]] = []

    class Silent:
        def generate(self, input_ids: torch.Tensor, **_: object) -> torch.Tensor:
            seen.append(input_ids[0].tolist())
            return input_ids

    for template in (None, "<begin> {{ messages[0]['content'] }} is"):
        tokenizer.chat_template = template
        for chat in (False, True):
            ask_one(Silent(), tokenizer, {"text": "paris", "chat": chat}, 4)
    assert seen == [[1, 2], [1, 2], [1, 2], [1, 2, 3]]


def test_a_folder_without_an_adapter_is_an_error_that_says_so(folders: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(AskFailed, match="adapter_config"):
        ask(str(folders[0]), tmp_path, [{"text": "paris"}])
