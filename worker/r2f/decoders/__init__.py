"""Trained gradient decoders that ship with the package, each with its card."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from safetensors.torch import load_file, save_file

from worker.r2f.decoder import Decoder, SpectralFilter

FORMAT = 1
FOLDER = Path(__file__).parent


class DecoderError(ValueError):
    """The decoder is missing, of another format version, or made for another sketch rank."""


@dataclass(frozen=True)
class Card:
    """What a decoder is and how it was made."""

    name: str
    sketch_rank: int
    proxy: str
    data: str
    steps: int
    seed: int
    ridge: float  # λ of the best fixed ridge on the proxy: what the decoder is measured against
    digest: str  # sha256 of the weights file
    fidelity: dict[str, dict[str, float]] = field(default_factory=dict)  # method -> figure -> value, on the target
    format: int = FORMAT


def read_card(name: str, folder: Path = FOLDER) -> Card:
    """A decoder's card.

    Raises:
        DecoderError: there is no such decoder, or its format is another.
    """
    path = folder / name / "card.json"
    if not path.is_file():
        raise DecoderError(f"There is no decoder named {name}.")
    raw = json.loads(path.read_text("utf-8"))
    if raw.get("format") != FORMAT:
        raise DecoderError(
            f"{path.name} of decoder {name} has format {raw.get('format')}; this version reads {FORMAT}."
        )
    return Card(**raw)


@cache
def load(name: str, sketch_rank: int, folder: Path = FOLDER) -> tuple[Decoder, Card]:
    """A decoder, ready to use.

    Raises:
        DecoderError: it is missing, torn, or made for another rank.
    """
    card, path = read_card(name, folder), folder / name / "decoder.safetensors"
    if card.sketch_rank != sketch_rank:
        raise DecoderError(f"Decoder {name} was trained for sketch rank {card.sketch_rank}, not {sketch_rank}.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != card.digest:
        raise DecoderError(f"The weights of decoder {name} are not the ones that its card names.")
    weights = SpectralFilter()
    weights.load_state_dict(load_file(path))
    return Decoder(weights), card


def save(weights: SpectralFilter, card: Card, folder: Path = FOLDER) -> Card:
    """Write a decoder and its card; returns the card with the digest of the weights."""
    target = folder / card.name
    target.mkdir(parents=True, exist_ok=True)
    path = target / "decoder.safetensors"
    save_file({name: tensor.float().contiguous() for name, tensor in weights.state_dict().items()}, path)
    written = Card(**{**asdict(card), "digest": hashlib.sha256(path.read_bytes()).hexdigest()})
    (target / "card.json").write_text(json.dumps(asdict(written), indent=2) + "\n", "utf-8")
    return written
