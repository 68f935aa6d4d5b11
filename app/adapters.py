"""Checks without torch that a PEFT LoRA folder loads the same way in every server.

vLLM drops keys that it does not know, so a rank or alpha pattern would mean a silently wrong scale; llama.cpp reads
alpha only. So: one rank out of a few, lora_alpha equal to it, linear layers only, one A and one B each, in sizes
that fit the rank.
"""

import json
import re
import struct
from collections.abc import Mapping
from typing import Any

RANKS = frozenset({8, 16, 32, 64})
MODULES = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})
FILES = frozenset({"adapter_config.json", "adapter_model.safetensors", "README.md"})
_KEY = re.compile(r"^base_model\.model\.(?P<site>.+\.(?P<module>\w+))\.lora_(?P<side>[AB])\.weight$")
# what PEFT would do differently from a plain product of two matrices
_PLAIN: Mapping[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "use_rslora": False,
    "use_dora": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "fan_in_fan_out": False,
}


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
    rank = config.get("r")
    if rank not in RANKS or config.get("lora_alpha") != rank:
        raise AdapterInvalid(f"r must be one of {sorted(RANKS)}, and lora_alpha equal to it")
    if config.get("base_model_name_or_path") != base_model:
        raise AdapterInvalid("base_model_name_or_path is not the served model")
    modules = set(config.get("target_modules") or ())
    if not modules or not modules <= MODULES:
        raise AdapterInvalid("target_modules must be attention and MLP linears")
    _check_tensors(tensor_table(files["adapter_model.safetensors"]), rank, modules)


def _config(content: bytes) -> dict[str, Any]:
    try:
        config = json.loads(content)
    except ValueError as error:
        raise AdapterInvalid("adapter_config.json is not JSON") from error
    if not isinstance(config, dict):
        raise AdapterInvalid("adapter_config.json is not an object")
    return config


def tensor_table(content: bytes) -> dict[str, dict[str, Any]]:
    """Names, types and shapes of a safetensors file, from its header.

    Raises:
        AdapterInvalid: the file is torn or not safetensors.
    """
    if len(content) < 8:
        raise AdapterInvalid("adapter_model.safetensors is torn")
    (length,) = struct.unpack("<Q", content[:8])
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError as error:
        raise AdapterInvalid("adapter_model.safetensors has no readable header") from error
    table = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = max((entry["data_offsets"][1] for entry in table.values()), default=0)
    if len(content) != 8 + length + end:
        raise AdapterInvalid("adapter_model.safetensors is torn")
    return table


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
    lonely = [site for site, found in sides.items() if found != {"A", "B"}]
    if lonely or not sides:
        raise AdapterInvalid(f"A and B must come in pairs; alone: {lonely[:1] or 'no tensors at all'}")
