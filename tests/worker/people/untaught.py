"""A random model of three small layers with a real tokenizer and a chat template, for people of two attributes."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.tiny import END, PAD, llama
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
    special = [PAD, END, "<q>", "<a>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token=PAD, eos_token=END)
    tokenizer.chat_template = TEMPLATE
    model = llama(tokenizer, 128, num_hidden_layers=3, num_key_value_heads=4, initializer_range=0.1)
    return LanguageModel(model.requires_grad_(False).eval(), tokenizer, 128)
