"""The reference: the cheapest run with the same keep counts.

A plain loop over the layers with a random selection, without scoring and without hooks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from transprune import Trace
from transprune.core.library import cache_argument

from .model import BEFORE, Shape


def reference(
    model: Any, shape: Shape, inputs: dict[str, Tensor], trace: Trace
) -> Callable[[], Tensor]:
    """A prefill that keeps and freezes as much as the run of `trace`; -> last logits [1, 1, V]."""
    decoder = model.model.language_model
    kept = {stage.boundary: len(stage.keep[0]) for stage in trace.stages}
    generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def prefill() -> Tensor:
        hidden = _embed(model, inputs)  # [1, L, D]
        positions = torch.arange(hidden.shape[1])[None]
        embeddings = decoder.rotary_emb(hidden, positions)  # cos and sin, [1, L, D / heads] each
        cache = DynamicCache(config=decoder.config)
        visual = shape.visual

        for index, layer in enumerate(decoder.layers):
            if index in kept:
                rows = _choose_rows(visual, kept[index], hidden.shape[1], generator)
                visual = kept[index]
                hidden = hidden.index_select(1, rows)
                embeddings = tuple(table.index_select(1, rows) for table in embeddings)

            if index in trace.frozen:
                hidden = _frozen_layer(layer, hidden, embeddings, visual, cache)
            else:
                # without a mask the layer uses SDPA's causal mode
                hidden = layer(
                    hidden,
                    attention_mask=None,
                    position_embeddings=embeddings,
                    **cache_argument(layer, cache),
                )

        return model.lm_head(decoder.norm(hidden)[:, -1:])

    return prefill


def _embed(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Embeddings of the prompt with the image features in place. -> [1, L, D]."""
    inner = model.model
    encoded = inner.get_image_features(inputs["pixel_values"], return_dict=True)
    features = torch.cat(encoded.pooler_output)  # [N, D]

    ids = inputs["input_ids"]
    hidden = inner.get_input_embeddings()(ids)
    is_image = (ids == model.config.image_token_id)[..., None]  # [1, L, 1]
    return hidden.masked_scatter(is_image, features)


def _choose_rows(visual: int, keep: int, rows: int, generator: torch.Generator) -> Tensor:
    """Indices of all text rows and of `keep` random visual ones, ascending."""
    chosen = torch.randperm(visual, generator=generator)[:keep].sort().values + BEFORE
    return torch.cat([torch.arange(BEFORE), chosen, torch.arange(BEFORE + visual, rows)])


def _frozen_layer(
    layer: Any, hidden: Tensor, embeddings: Any, visual: int, cache: DynamicCache
) -> Tensor:
    """One decoder layer in which the visual rows provide keys and values only."""
    attention = layer.self_attn
    total = hidden.shape[1]
    text = torch.cat([torch.arange(BEFORE), torch.arange(BEFORE + visual, total)])  # [T]
    x = layer.input_layernorm(hidden)

    def heads(rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    # [1, rows, D] -> [1, H, rows, D / H]
    query = heads(attention.q_proj(x[:, text]))
    key = heads(attention.k_proj(x))
    value = heads(attention.v_proj(x))

    # the function rotates a pair; only one of each pair is needed
    cos, sin = embeddings
    query = apply_rotary_pos_emb(query, query, cos[:, text], sin[:, text])[0]
    key = apply_rotary_pos_emb(key, key, cos, sin)[0]
    key, value = cache.update(key, value, attention.layer_idx)

    mask = torch.arange(total)[None] <= text[:, None]  # causal, [T, L]
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)

    # [1, H, T, D / H] -> [1, T, D]
    rows = hidden[:, text] + attention.o_proj(mixed.transpose(1, 2).flatten(2))
    rows = rows + layer.mlp(layer.post_attention_layernorm(rows))
    return hidden.index_copy(1, text, rows)
