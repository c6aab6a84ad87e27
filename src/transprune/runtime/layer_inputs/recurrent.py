"""Arguments of a layer that carries a state in place of keys (gated delta nets, short convolutions).

Such a layer meets its rows one after the other, so it is given the rows that run and nothing else
changes. A dropped token stays in the state of those layers that it did pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transprune.core.layout import Layout, gather_rows
from transprune.errors import CacheError
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.layer_inputs.gather import gather_ids


def recurrent_inputs(state: Pass, call: LayerCall) -> dict[str, Any]:
    """New values, by name, for the rows that run.

    Raises:
        CacheError: rows are filled up between an earlier turn and this one, which changes a state.
    """
    layout = state.layout
    if not state.pruned or layout is None:
        return {}
    if not layout.dense and not state.is_prefill:
        raise CacheError(
            "a batch of prompts with different lengths continues an earlier turn in recurrent "
            "layers, whose state the fillers between both would change; run the samples one by one"
        )

    # a recurrent layer reads its rows in order, so what goes with each row is gathered for those
    # left
    replaced: dict[str, Any] = {"attention_mask": _mask(call.kwargs.get("attention_mask"), layout)}
    embeddings = call.kwargs.get("position_embeddings")
    if embeddings is not None:
        replaced["position_embeddings"] = tuple(
            gather_rows(table, layout.origin) for table in embeddings
        )

    ids = call.kwargs.get("position_ids")
    if ids is not None:
        replaced["position_ids"] = gather_ids(ids, layout.origin)

    return replaced


def _mask(given: Tensor | None, layout: Layout) -> Tensor | None:
    """Rows that are real, [B, P], as the mask of padding that was given."""
    if given is None:
        # fillers stand in front of all others, and the layer sets masked rows to zero
        return None if layout.dense else layout.valid.to(torch.long)
    rows = given.expand(layout.batch, -1).gather(1, layout.origin)
    return rows * layout.valid.to(rows.dtype)
