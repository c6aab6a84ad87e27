"""The cheapest possible run with the same keep counts: a plain loop, random selection, no scoring, no hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from transprune import Method
from transprune.plan import Stage

from .model import BEFORE, VISUAL


def oracle(model: Any, inputs: dict[str, Tensor], method: Method) -> Callable[[], Tensor]:
    """A prefill that keeps as many tokens as `method` at the same boundaries; -> logits of the last position."""
    inner, decoder = model.model, model.model.language_model
    plan: dict[int, Stage] = {stage.boundary: stage for stage in method.plan(len(decoder.layers), VISUAL)}
    generator = torch.Generator().manual_seed(0)

    def cut(visual: int, keep: int, rows: int) -> Tensor:
        chosen = torch.randperm(visual, generator=generator)[:keep].sort().values + BEFORE
        return torch.cat([torch.arange(BEFORE), chosen, torch.arange(BEFORE + visual, rows)])

    @torch.no_grad()
    def prefill() -> Tensor:
        features = torch.cat(inner.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output)
        hidden = inner.get_input_embeddings()(inputs["input_ids"])
        hidden = hidden.masked_scatter((inputs["input_ids"] == model.config.image_token_id)[..., None], features)
        cache = DynamicCache(config=decoder.config)
        embeddings = decoder.rotary_emb(hidden, torch.arange(hidden.shape[1])[None])
        visual = VISUAL
        for index, layer in enumerate(decoder.layers):
            if index in plan:
                rows = cut(visual, plan[index].count, hidden.shape[1])
                visual = plan[index].count
                hidden = hidden.index_select(1, rows)
                embeddings = tuple(table.index_select(1, rows) for table in embeddings)
            hidden = layer(hidden, attention_mask=None, position_embeddings=embeddings, past_key_values=cache)
        return model.lm_head(decoder.norm(hidden)[:, -1:])

    return prefill
