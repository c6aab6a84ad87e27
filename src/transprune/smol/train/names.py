"""Names as vectors, from the language model that will read the tower's features.

The tower is trained to match pictures with names, and names are known by what the language model
makes of their words. So a kind that was never trained on has a vector as well, and the tower can
be measured on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_DEPTH = 2 / 3  # of the layers; the last ones turn from meaning to the next word
_BATCH = 64


@torch.no_grad()
def name_vectors(model: Any, tokenizer: Any, names: Sequence[str]) -> Tensor:
    """Describe each name by its words' embeddings and by the states that follow from them.

    Args:
        model: a Llama-like causal language model.
        tokenizer: its tokenizer.
        names: short texts.

    Returns:
        float32 [K, 2 * D]: the mean over the tokens of a name, of the embeddings and of the states
        two thirds up. Each half is centred over all names and has length 1.
    """
    layer = round(_DEPTH * model.config.num_hidden_layers)
    halves = []

    for start in range(0, len(names), _BATCH):
        part = [" " + name for name in names[start : start + _BATCH]]
        ids = [tokenizer(text, add_special_tokens=False).input_ids for text in part]
        halves.append(_means(model, ids, layer))

    vectors = torch.cat(halves)  # [K, 2, D]
    vectors = vectors - vectors.mean(dim=0)
    return F.normalize(vectors, dim=-1).flatten(1)


def _means(model: Any, ids: list[list[int]], layer: int) -> Tensor:
    """Means over the tokens of embeddings and of the states of one layer. -> float32 [n, 2, D]."""
    longest = max(len(row) for row in ids)
    padded = torch.zeros(len(ids), longest, dtype=torch.long)
    real = torch.zeros(len(ids), longest)
    for number, row in enumerate(ids):
        padded[number, : len(row)] = torch.tensor(row)
        real[number, : len(row)] = 1

    # padding is on the right, so causal attention never sees it
    out = model(padded.to(model.device), output_hidden_states=True, use_cache=False)
    weight = (real / real.sum(dim=1, keepdim=True)).to(model.device)[..., None]  # [n, T, 1]
    pair = (out.hidden_states[0].float(), out.hidden_states[layer].float())
    return torch.stack([(states * weight).sum(dim=1) for states in pair], dim=1).cpu()
