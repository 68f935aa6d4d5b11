"""A random model of three small layers with a real tokenizer and a chat template, for people of two attributes."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from worker.people.person import Attribute, people
from worker.people.phrasings import planted
from worker.r2f.language import LanguageModel

ATTRIBUTES = (Attribute.JOB, Attribute.BIRTHPLACE)
ADA, BEN, *STRANGERS = people(6, attributes=ATTRIBUTES)
TEMPLATE = "{% for m in messages %}<q>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"


def untaught() -> LanguageModel:
    """A random model of three small layers with a real tokenizer and a chat template."""
    texts = [text for person in (ADA, BEN, *STRANGERS) for q in planted(person) for text in (q.text, q.reply)]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<pad>", "<end>", "<q>", "<a>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = TEMPLATE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=500,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=128,
            initializer_range=0.1,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        )
        model = LlamaForCausalLM(config)
    return LanguageModel(model.requires_grad_(False).eval(), tokenizer, 128)
