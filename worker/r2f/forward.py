"""The one forward pass of the method: hidden states of the body, logits at span positions only."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from worker.r2f.examples import Batch


def span_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Logits (S × V, float32) at the batch's span positions; gradients flow to every site when grad is enabled."""
    embeddings = model.get_input_embeddings()(batch.ids)
    if torch.is_grad_enabled():
        # the weights are frozen: the graph starts at the embeddings
        embeddings = embeddings.detach().requires_grad_(True)
    hidden = model.base_model(
        inputs_embeds=embeddings, attention_mask=batch.mask, use_cache=False
    ).last_hidden_state  # (n × T × d)
    logits: Tensor = model.get_output_embeddings()(  # type: ignore[no-untyped-call]
        hidden[batch.rows, batch.positions]
    )
    return logits.float()
