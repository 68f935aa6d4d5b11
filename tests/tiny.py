"""Language models small enough to be taught in a second: their tokenizer, their sizes and how they learn."""

from collections.abc import Callable, Iterable

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PAD, END, UNKNOWN = "<pad>", "<end>", "<unk>"


def word_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A token for each word between spaces, behind those for padding, the end and any other word."""
    vocabulary = {word: n for n, word in enumerate(dict.fromkeys((PAD, END, UNKNOWN, *words)))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token=PAD, eos_token=END, unk_token=UNKNOWN)


def llama(tokenizer: PreTrainedTokenizerFast, context: int, **sizes: float) -> LlamaForCausalLM:
    """A Llama of a tokenizer with its first weights, which are always the same."""
    defaults = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=context,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        **(defaults | {"num_key_value_heads": 2} | sizes),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def teach(model: nn.Module, steps: int, rate: float, loss: Callable[[], Tensor]) -> None:
    """Take steps of AdamW down a loss."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
