"""Folders that look like models and decoders, as far as who registers them can see."""

import json
import struct
from hashlib import sha256
from pathlib import Path

WORDS = {  # a tokenizer for which a word is a token
    "version": "1.0",
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
    "added_tokens": [],
}
NO_TENSORS = struct.pack("<Q", 2) + b"{}"  # a whole safetensors file


def configuration(family: str = "llama", context: int = 64) -> str:
    """What is in a config.json."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "max_position_embeddings": context}
    return json.dumps({"model_type": family, **sizes})


def model_folder(folder: Path, family: str = "llama", context: int = 64) -> Path:
    """A folder with everything that makes a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(configuration(family, context))
    (folder / "model.safetensors").write_bytes(NO_TENSORS)
    (folder / "tokenizer.json").write_text(json.dumps(WORDS))
    return folder


def decoder_folder(folder: Path, rank: int) -> Path:
    """A folder with everything that makes a decoder."""
    folder.mkdir(parents=True, exist_ok=True)
    card = {"format": 1, "name": "mine", "sketch_rank": rank, "digest": sha256(NO_TENSORS).hexdigest()}
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "decoder.safetensors").write_bytes(NO_TENSORS)
    return folder
