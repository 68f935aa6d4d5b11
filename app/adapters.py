"""Checks without torch that a PEFT LoRA folder loads the same way in every server.

vLLM drops keys that it does not know, so a rank or alpha pattern would mean a silently wrong scale; llama.cpp reads
alpha only. So: one rank out of a few, lora_alpha equal to it, linear layers only, one A and one B each, in sizes
that fit the rank.
"""

import io
import json
import re
from collections.abc import Mapping
from typing import Any

from app.tensors import METADATA, TornTensors, header

RANKS = frozenset({8, 16, 32, 64})
MODULES = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})
FILES = frozenset({"adapter_config.json", "adapter_model.safetensors", "README.md"})
_KEY = re.compile(r"^base_model\.model\.(?P<site>.+\.(?P<module>\w+))\.lora_(?P<side>[AB])\.weight$")
# What PEFT would do differently from a plain product of two matrices; all of it must be said, and nothing else may be
# but what follows.
_PLAIN: Mapping[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "use_rslora": False,
    "use_dora": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "fan_in_fan_out": False,
    "task_type": "CAUSAL_LM",
}
_FREE = frozenset({"r", "lora_alpha", "target_modules", "base_model_name_or_path", "revision"})
_HARMLESS: Mapping[str, Any] = {"inference_mode": True, "init_lora_weights": True, "lora_dropout": 0.0}
_ABOUT_BASE = ("base_model", "base_revision", "base_digest")


class AdapterInvalid(ValueError):
    """The folder is not an adapter that every server loads the same way; the message says what is wrong."""


def validate(files: Mapping[str, bytes], base_model: str) -> None:
    """Check an adapter folder, given as file name to content.

    Args:
        base_model: the served id that the adapter must name.

    Raises:
        AdapterInvalid: with the first fault found.
    """
    if set(files) != FILES:
        raise AdapterInvalid(f"the folder must hold {', '.join(sorted(FILES))} and nothing else")
    config = _config(files["adapter_config.json"])
    for name, wanted in _PLAIN.items():
        if config.get(name) != wanted:
            raise AdapterInvalid(f"{name} must be {json.dumps(wanted)}")
    for name, value in config.items():
        if name not in _PLAIN and name not in _FREE and (name not in _HARMLESS or value != _HARMLESS[name]):
            raise AdapterInvalid(f"{name} is nothing that every server reads alike")
    rank = config.get("r")
    if rank not in RANKS or config.get("lora_alpha") != rank:
        raise AdapterInvalid(f"r must be one of {sorted(RANKS)}, and lora_alpha equal to it")
    if config.get("base_model_name_or_path") != base_model:
        raise AdapterInvalid("base_model_name_or_path is not the served model")
    modules = set(config.get("target_modules") or ())
    if not modules or not modules <= MODULES:
        raise AdapterInvalid("target_modules must be attention and MLP linears")
    content = files["adapter_model.safetensors"]
    try:
        table = header(io.BytesIO(content), len(content))
    except TornTensors as error:
        raise AdapterInvalid("adapter_model.safetensors is torn, or is not safetensors") from error
    about = table.pop(METADATA, {})
    if about.get("base_model") != base_model or not all(isinstance(about.get(name), str) for name in _ABOUT_BASE):
        raise AdapterInvalid(f"the metadata must name {', '.join(_ABOUT_BASE)}, the first of them the served model")
    if not about["base_digest"]:
        raise AdapterInvalid("the metadata must name the digest of the base model's weights")
    _check_tensors(table, rank, modules)


def _config(content: bytes) -> dict[str, Any]:
    try:
        config = json.loads(content)
    except ValueError as error:
        raise AdapterInvalid("adapter_config.json is not JSON") from error
    if not isinstance(config, dict):
        raise AdapterInvalid("adapter_config.json is not an object")
    return config


def _check_tensors(table: Mapping[str, Mapping[str, Any]], rank: int, modules: set[str]) -> None:
    sides: dict[str, set[str]] = {}
    for name, entry in table.items():
        match = _KEY.match(name)
        if not match or match["module"] not in modules:
            raise AdapterInvalid(f"a key that servers would drop: {name}")
        shape = entry["shape"]
        if len(shape) != 2 or shape[0 if match["side"] == "A" else 1] != rank:
            raise AdapterInvalid(f"{name} has shape {shape}, which does not fit rank {rank}")
        if entry["dtype"] not in ("F32", "F16", "BF16"):
            raise AdapterInvalid(f"{name} has type {entry['dtype']}")
        sides.setdefault(match["site"], set()).add(match["side"])
    if without := modules - {site.rpartition(".")[2] for site in sides}:
        raise AdapterInvalid(f"target modules without a tensor: {', '.join(sorted(without))}")
    lonely = [site for site, found in sides.items() if found != {"A", "B"}]
    if lonely or not sides:
        raise AdapterInvalid(f"A and B must come in pairs; alone: {lonely[:1] or 'no tensors at all'}")
