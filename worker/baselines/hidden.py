"""Hidden states, for methods that work in the latent space."""

import torch
from torch import Tensor

from worker.r2f.examples import Batch
from worker.r2f.language import LanguageModel


def hidden_states(lm: LanguageModel, batch: Batch, layer: int | None) -> Tensor:
    """Outputs (n × T × d) of a decoder layer, 0 the first; None: the normalised states that the logits come from."""
    embeddings = lm.model.get_input_embeddings()(batch.ids)
    if torch.is_grad_enabled():
        embeddings = embeddings.detach().requires_grad_(True)  # the weights are frozen: the graph starts here
    seen: list[Tensor] = []
    watched = lm.model.base_model.get_submodule("norm" if layer is None else f"layers.{layer}")
    # a hook of our own: asked for hidden states, transformers leaves its hooks on the model
    handle = watched.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    try:
        lm.model.base_model(inputs_embeds=embeddings, attention_mask=batch.mask, use_cache=False)
    finally:
        handle.remove()
    return seen[0]
