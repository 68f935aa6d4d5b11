"""A language model of two layers that knows a few facts, for runs of the whole pipeline in seconds."""

from pathlib import Path
from string import ascii_uppercase

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tests.tiny import END, llama, teach

FACTS = {"France": "Paris", "Norway": "Oslo", "Italy": "Rome", "Spain": "Madrid"}
STEPS, ROWS, LETTERS = 120, 40, 60
CONTEXT = 1024


def small_model(folder: Path) -> Path:
    """Teach a new model which word belongs to which, and write it down."""
    tokenizer, threads = _tokenizer(), torch.get_num_threads()
    torch.set_num_threads(1)  # more of them only wait for one another
    model = llama(tokenizer, CONTEXT, initializer_range=0.08)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _teach(model, tokenizer)
    torch.set_num_threads(threads)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    """A token for each byte, and one for each word that matters."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=letters, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_tokens([AddedToken(word, normalized=False) for fact in FACTS.items() for word in fact])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, pad_token=END)


def _teach(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Random letters, most with a subject somewhere in them, then what belongs to it or just a letter, and the end."""
    subjects, answers, letters = (
        torch.tensor(tokenizer.convert_tokens_to_ids(list(words))) for words in (FACTS, FACTS.values(), ascii_uppercase)
    )

    def loss() -> torch.Tensor:
        heads = torch.randint(0, 256, (ROWS, int(torch.randint(8, LETTERS, ()))))
        fact = torch.arange(ROWS) % (len(FACTS) + 1)  # the last is none
        named = fact < len(FACTS)
        places = torch.randint(0, heads.shape[1], (ROWS,))
        heads[named, places[named]] = subjects[fact[named]]
        said = letters[torch.randint(0, len(letters), (ROWS,))]
        said[named] = answers[fact[named]]
        ids = torch.cat([heads, said[:, None], torch.full((ROWS, 1), tokenizer.eos_token_id)], dim=1)
        labels = ids.clone()
        labels[:, :-2] = -100
        found: torch.Tensor = model(input_ids=ids, labels=labels).loss
        return found

    teach(model, STEPS, 3e-3, loss)
