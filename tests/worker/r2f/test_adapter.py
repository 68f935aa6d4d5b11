"""The published adapter is what plain peft loads, and the validator refuses what servers would read wrongly."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from app.adapters import AdapterInvalid, validate
from worker.r2f.adaptation import Adaptation
from worker.r2f.adapter import adapter_files
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import find_sites

IDS = torch.tensor([[5, 9, 33, 2, 71, 8]])


def _update(model: PreTrainedModel, rank: int) -> dict[str, LowRank]:
    generator = torch.Generator().manual_seed(4)

    def part(d_out: int, d_in: int) -> LowRank:
        left, right = (torch.randn(*shape, generator=generator) for shape in ((d_out, rank), (rank, d_in)))
        return LowRank(0.1 * left, right)

    return {site.name: part(site.d_out, site.d_in) for site in find_sites(model)}


def _files(model: PreTrainedModel, rank: int = 5) -> dict[str, bytes]:
    sites = find_sites(model)
    return adapter_files(_update(model, rank), sites, 8, model="tiny", revision=None, digest="d")


def test_plain_peft_computes_what_the_hooks_computed(model: PreTrainedModel, tmp_path: Path) -> None:
    model = model.float()
    with torch.no_grad(), Adaptation(model, find_sites(model)) as adaptation:
        base = model(IDS).logits
        adaptation.use(_update(model, 5))
        hooked = model(IDS).logits
    assert not torch.allclose(base, hooked, atol=1e-2)
    for name, content in _files(model).items():
        (tmp_path / name).write_bytes(content)
    peft = PeftModel.from_pretrained(model, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(peft(IDS).logits, hooked, rtol=1e-4, atol=1e-4)


def test_the_same_update_makes_the_same_bytes(model: PreTrainedModel) -> None:
    assert _files(model) == _files(model)


def test_an_update_leaves_no_hook_behind_even_when_the_block_raises(model: PreTrainedModel) -> None:
    with pytest.raises(RuntimeError, match="stop"), Adaptation(model, find_sites(model)):
        raise RuntimeError("stop")
    assert not any(module._forward_hooks for module in model.modules())


def test_a_good_adapter_is_valid(model: PreTrainedModel) -> None:
    validate(_files(model), "tiny")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lora_alpha": 16}, "lora_alpha equal"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"use_rslora": True}, "use_rslora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"target_modules": ["embed_tokens"]}, "target_modules"),
        ({"r": 12, "lora_alpha": 12}, "r must be one of"),
        ({"r": 16, "lora_alpha": 16}, "does not fit rank 16"),
        ({"lora_bias": True}, "lora_bias"),
        ({"layers_to_transform": [1]}, "layers_to_transform"),
        ({"lora_dropout": 0.1}, "lora_dropout"),
        ({"task_type": None}, "task_type"),
    ],
)
def test_a_config_that_a_server_would_read_wrongly_is_refused(
    model: PreTrainedModel, change: dict[str, object], says: str
) -> None:
    files = _files(model)
    config = json.loads(files["adapter_config.json"]) | change
    with pytest.raises(AdapterInvalid, match=says):
        validate(files | {"adapter_config.json": json.dumps(config).encode()}, "tiny")


def test_torn_weights_another_base_model_and_stray_files_are_refused(model: PreTrainedModel) -> None:
    files = _files(model)
    torn = files["adapter_model.safetensors"][:-10]
    with pytest.raises(AdapterInvalid, match="torn"):
        validate(files | {"adapter_model.safetensors": torn}, "tiny")
    with pytest.raises(AdapterInvalid, match="not the served model"):
        validate(files, "other")
    with pytest.raises(AdapterInvalid, match="nothing else"):
        validate(files | {"pytorch_model.bin": b""}, "tiny")


def _reheaded(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The weights with another header."""
    (length,) = struct.unpack("<Q", content[:8])
    made = json.dumps(change(json.loads(content[8 : 8 + length]))).encode()
    return struct.pack("<Q", len(made)) + made + content[8 + length :]


def _about(header: dict[str, Any], **change: str) -> dict[str, Any]:
    return header | {"__metadata__": header["__metadata__"] | change}


def _tensors(header: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    return {name: entry if name == "__metadata__" else change(entry) for name, entry in header.items()}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda header: {name: entry for name, entry in header.items() if name != "__metadata__"}, "metadata must"),
        (lambda header: _about(header, base_model="other"), "metadata must"),
        (lambda header: _about(header, base_digest=""), "digest"),
        (lambda header: [header], "torn"),
        (lambda header: _tensors(header, lambda entry: {"shape": entry["shape"]}), "torn"),
        (lambda header: _tensors(header, lambda entry: entry | {"shape": [8, 4096]}), "torn"),
        (lambda header: {name: entry for name, entry in header.items() if "up_proj" not in name}, "torn"),
    ],
)
def test_weights_that_do_not_say_what_they_hold_are_refused(
    model: PreTrainedModel, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    files = _files(model)
    changed = _reheaded(files["adapter_model.safetensors"], change)
    with pytest.raises(AdapterInvalid, match=says):
        validate(files | {"adapter_model.safetensors": changed}, "tiny")


def test_a_target_module_without_a_tensor_is_refused(model: PreTrainedModel) -> None:
    files = _files(model)
    config = json.loads(files["adapter_config.json"])
    tensors = safetensors.torch.load(files["adapter_model.safetensors"])
    metadata = {"base_model": "tiny", "base_revision": "", "base_digest": "0"}
    kept = {name: tensor for name, tensor in tensors.items() if "up_proj" not in name}
    weights = safetensors.torch.save(kept, metadata)
    with pytest.raises(AdapterInvalid, match="without a tensor: up_proj"):
        validate(files | {"adapter_model.safetensors": weights}, "tiny")
    config["target_modules"].remove("up_proj")
    validate(files | {"adapter_model.safetensors": weights, "adapter_config.json": json.dumps(config).encode()}, "tiny")
