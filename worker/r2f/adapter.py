"""The forget adapter as a PEFT LoRA folder that every server loads the same way, and a validator without torch.

vLLM drops keys that it does not know and llama.cpp reads alpha only, so a rank or alpha pattern would mean a silently
wrong scale: one rank for all sites, lora_alpha = rank, the scale folded into B, nothing else in the folder.
"""

import hashlib
import json
import struct
from collections.abc import Mapping

import safetensors.torch
import torch

from worker.r2f.adaptation import Update
from worker.r2f.sites import Site

RANKS = (8, 16, 32, 64)
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
MERGED = "merged"  # in the metadata of an adapter that is to be merged: the rounding that it was made for

_BESIDE = """\
Load it on top of the base model, whose weights are unchanged:

    from peft import PeftModel
    model = PeftModel.from_pretrained(base_model, "this folder")

Protection holds where the adapter is loaded, and only there."""

_MERGED = """\
Merge it into the base model:

    from peft import PeftModel
    model = PeftModel.from_pretrained(base_model, "this folder").merge_and_unload()

and round that to {merged}. It was computed and judged so, and is for that alone: beside the weights it changes more
than it should, rounded otherwise it may not hold, and it cannot be composed with others.

Protection holds in the model that it was merged into, and only there."""

_README = """\
---
base_model: {model}
library_name: peft
---
# Forget adapter

A LoRA adapter (rank {rank}) computed with Recover-to-Forget (arXiv 2512.07374). {use} The adapter is an image
of the data's gradient: treat it as personal data.

- base model: {model}, revision {revision}
- digest of the base weights: {digest}
"""


def adapter_files(
    update: Update,
    sites: tuple[Site, ...],
    rank: int,
    *,
    model: str,
    revision: str | None,
    digest: str,
    merged: str | None = None,
) -> dict[str, bytes]:
    """The adapter folder: file name to content; the same update gives the same bytes.

    Args:
        update: one low-rank update per site, of rank at most ``rank`` (padded with zeros below it).
        model: the served id of the base model.
        digest: of the base model's weights.
        merged: the rounding of the model that it is to be merged into; None: it stays beside the weights.
    """
    tensors: dict[str, torch.Tensor] = {}
    for site in sites:
        part, name = update[site.name], f"base_model.model.{site.name}"
        a, b = torch.zeros(rank, site.d_in), torch.zeros(site.d_out, rank)
        a[: part.rank], b[:, : part.rank] = part.right.cpu().float(), part.left.cpu().float()
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = a, b
    config = {
        "base_model_name_or_path": model,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {},
        "alpha_pattern": {},
        "revision": revision,
        "target_modules": sorted({site.module for site in sites}),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    metadata = {"base_model": model, "base_revision": revision or "", "base_digest": digest, "format": "pt"}
    if merged:
        metadata[MERGED] = merged
    use = _MERGED.format(merged=merged) if merged else _BESIDE
    about = _README.format(model=model, rank=rank, revision=revision or "none", digest=digest, use=use)
    return {
        CONFIG: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),
        WEIGHTS: _canonical(safetensors.torch.save(tensors, metadata)),
        "README.md": about.encode(),
    }


def _canonical(content: bytes) -> bytes:
    """The same safetensors file with its header in sorted order: the library writes metadata in a random one."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors stay aligned
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def sha256(files: Mapping[str, bytes]) -> str:
    """The digest that names an adapter: of its weights file."""
    return hashlib.sha256(files[WEIGHTS]).hexdigest()
