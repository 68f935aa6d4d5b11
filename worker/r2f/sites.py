"""Sites: the frozen linear weights whose gradients are decoded and that the forget adapter changes."""

import re
from dataclasses import dataclass

from torch import nn

# Llama, Mistral and Qwen2 name their linear layers alike. The value says which sites share one input.
MODULES = {
    "q_proj": "attention",
    "k_proj": "attention",
    "v_proj": "attention",
    "o_proj": "o_proj",
    "gate_proj": "mlp",
    "up_proj": "mlp",
    "down_proj": "down_proj",
}
_PATH = re.compile(r"(?:^|\.)layers\.(\d+)\.\w+\.(\w+)$")


class NoSitesError(ValueError):
    """The model has no Llama-type linear layers (q, k, v, o, gate, up, down) to work on."""


@dataclass(frozen=True)
class Site:
    """A linear weight W (d_out × d_in) of the base model."""

    name: str
    layer: int
    module: str
    d_out: int
    d_in: int

    @property
    def group(self) -> str:
        """The name of the input that this site shares with others, such as ``3.attention`` for q, k and v."""
        return f"{self.layer}.{MODULES[self.module]}"


def find_sites(model: nn.Module) -> tuple[Site, ...]:
    """List the sites of a Llama-type model, in the model's own order.

    Raises:
        NoSitesError: the model has none.
    """
    sites = []
    for name, module in model.named_modules():
        match = _PATH.search(name)
        if match and match[2] in MODULES and isinstance(module, nn.Linear):
            sites.append(Site(name, int(match[1]), match[2], module.out_features, module.in_features))
    if not sites:
        raise NoSitesError(NoSitesError.__doc__)
    return tuple(sites)
