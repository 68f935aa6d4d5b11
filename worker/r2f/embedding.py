"""Sentence embeddings, for the similarity filter on views and to find the banks' nearest facts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Embedder:
    """A sentence encoder with mean pooling (all-MiniLM-L6-v2, Reimers and Gurevych, arXiv 1908.10084)."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (n × d); the scalar product of two is their cosine similarity."""
        coded = self.tokenizer(list(texts), padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.no_grad():
            hidden = self.model(**coded.to(self.model.device)).last_hidden_state  # (n × T × d)
        mask = coded["attention_mask"][..., None].to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(pooled, dim=-1).cpu()
