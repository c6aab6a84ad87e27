"""Take the inputs of a prompt apart, and put those of several prompts together into one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


def text_inputs(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs of one prompt with an entry per token, [1, n] each."""
    shape = inputs["input_ids"].shape
    return {name: value for name, value in inputs.items() if value.shape == shape}


def media_inputs(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs of one prompt that describe its pictures and videos."""
    shape = inputs["input_ids"].shape
    return {name: value for name, value in inputs.items() if value.shape != shape}


def padding_id(tokenizer: Any) -> int:
    """A token id to pad with; padding is masked, so any will do."""
    found = tokenizer.pad_token_id
    return int((tokenizer.eos_token_id if found is None else found) or 0)


def end_ids(model: Any) -> frozenset[int]:
    """Token ids that end an answer."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)


def pad_left(rows: Sequence[dict[str, Tensor]], pad_id: int) -> dict[str, Tensor]:
    """Token rows [1, n] of different lengths as one batch [B, L], padded on the left."""
    longest = max(row["input_ids"].shape[1] for row in rows)

    batch = {}
    for name in rows[0]:
        # masks and token types are 0 for padding
        filler = pad_id if name == "input_ids" else 0

        padded = []
        for row in rows:
            missing = longest - row[name].shape[1]
            padded.append(pad(row[name], (missing, 0), value=filler))
        batch[name] = torch.cat(padded)

    return batch


def continued(row: dict[str, Tensor], ids: Tensor) -> dict[str, Tensor]:
    """A token row [1, n] with the text tokens `ids` [1, m] behind it."""
    longer = {}
    for name, value in row.items():
        # masks are 1 for text, token types 0
        more = ids if name == "input_ids" else torch.full_like(ids, int("mask" in name))
        longer[name] = torch.cat([value, more.to(value.dtype)], dim=1)
    return longer
