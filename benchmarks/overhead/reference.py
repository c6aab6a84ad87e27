"""The cheapest possible run with the same keep counts: a plain loop, random selection, no scoring, no hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from transprune import Trace
from transprune.core.library import cache_argument

from .model import BEFORE, VISUAL


def reference(model: Any, inputs: dict[str, Tensor], trace: Trace) -> Callable[[], Tensor]:
    """A prefill that keeps and freezes as much as the run of `trace` did; -> logits of the last position."""
    inner, decoder = model.model, model.model.language_model
    kept = {stage.boundary: len(stage.keep[0]) for stage in trace.stages}
    generator = torch.Generator().manual_seed(0)

    def cut(visual: int, keep: int, rows: int) -> Tensor:
        chosen = torch.randperm(visual, generator=generator)[:keep].sort().values + BEFORE
        return torch.cat([torch.arange(BEFORE), chosen, torch.arange(BEFORE + visual, rows)])

    @torch.no_grad()
    def prefill() -> Tensor:
        features = torch.cat(
            inner.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output
        )
        hidden = inner.get_input_embeddings()(inputs["input_ids"])
        hidden = hidden.masked_scatter(
            (inputs["input_ids"] == model.config.image_token_id)[..., None], features
        )
        cache = DynamicCache(config=decoder.config)
        embeddings = decoder.rotary_emb(hidden, torch.arange(hidden.shape[1])[None])
        visual = VISUAL
        for index, layer in enumerate(decoder.layers):
            if index in kept:
                rows = cut(visual, kept[index], hidden.shape[1])
                visual = kept[index]
                hidden = hidden.index_select(1, rows)
                embeddings = tuple(table.index_select(1, rows) for table in embeddings)
            if index in trace.frozen:
                hidden = frozen(layer, hidden, embeddings, visual, cache)
            else:
                hidden = layer(
                    hidden,
                    attention_mask=None,
                    position_embeddings=embeddings,
                    **cache_argument(layer, cache),
                )
        return model.lm_head(decoder.norm(hidden)[:, -1:])

    return prefill


def frozen(layer: Any, hidden: Tensor, embeddings: Any, visual: int, cache: DynamicCache) -> Tensor:
    """One decoder layer in which the visual rows only give keys and values."""
    attention, total = layer.self_attn, hidden.shape[1]
    text = torch.cat([torch.arange(BEFORE), torch.arange(BEFORE + visual, total)])
    x = layer.input_layernorm(hidden)

    def heads(rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    query, key, value = (
        heads(attention.q_proj(x[:, text])),
        heads(attention.k_proj(x)),
        heads(attention.v_proj(x)),
    )
    cos, sin = embeddings
    query = apply_rotary_pos_emb(query, query, cos[:, text], sin[:, text])[0]
    key, value = cache.update(
        apply_rotary_pos_emb(key, key, cos, sin)[0], value, attention.layer_idx
    )
    mask = torch.arange(total)[None] <= text[:, None]
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    rows = hidden[:, text] + attention.o_proj(mixed.transpose(1, 2).flatten(2))
    rows = rows + layer.mlp(layer.post_attention_layernorm(rows))
    return hidden.index_copy(1, text, rows)
