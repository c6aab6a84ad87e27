"""Attention probabilities of a few query rows, from the layer's own modules.

No L x L map is ever materialised. The modules are *called*, never their weights read, so LoRA,
quantised linears and offload hooks all apply, and the layer itself stays on whatever kernel it
runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from transprune.core.library import private
from transprune.errors import MissingSignal
from transprune.runtime.layer_inputs.masks import MaskProjection


class RawProjections(Protocol):
    """Query and key projections of the rows of a layer, before heads are split and rotated."""

    def queries(self, sample: int, rows: Tensor) -> Tensor:
        """[1, T, Hq * d]."""

    def keys(self) -> Tensor:
        """[B, L, Hkv * d]."""

    def mean_query(self, sample: int, rows: Tensor) -> Tensor:
        """[1, 1, Hq * d]."""


class AheadProjections:
    """Projects on demand, from the hidden states [B, L, D] that are about to enter `layer`."""

    def __init__(self, layer: Any, hidden: Tensor) -> None:
        self._attention = layer.self_attn
        # kept by `store_survivors`, so that the layer does not normalise again
        self.normalised: Tensor = layer.input_layernorm(hidden)
        self._keys: Tensor | None = None

    def queries(self, sample: int, rows: Tensor) -> Tensor:
        """Queries of these rows only."""
        return self._attention.q_proj(self.normalised[sample, rows][None])

    def keys(self) -> Tensor:
        """Keys of every row, projected once."""
        if self._keys is None:
            self._keys = self._attention.k_proj(self.normalised)
        assert self._keys is not None
        return self._keys

    def mean_query(self, sample: int, rows: Tensor) -> Tensor:
        """The mean of these rows' queries: the projection of their mean, as it is linear."""
        mean = self.normalised[sample, rows].mean(dim=0)  # [T, D] -> [D]
        return self._attention.q_proj(mean[None, None])


@dataclass
class TappedProjections:
    """What a layer that has run projected: queries [B, L, Hq * d], keys [B, L, Hkv * d]."""

    query: Tensor
    key: Tensor

    def queries(self, sample: int, rows: Tensor) -> Tensor:
        """Queries of these rows."""
        return self.query[sample, rows][None]

    def keys(self) -> Tensor:
        """Keys of every row."""
        return self.key

    def mean_query(self, sample: int, rows: Tensor) -> Tensor:
        """The mean of these rows' queries."""
        return self.query[sample, rows].mean(dim=0)[None, None]


class AttentionRows:
    """Attention of one decoder layer from chosen rows to all keys.

    Args:
        attention: the layer's attention module.
        projections: raw queries and keys.
        embeddings: cos and sin of the layer's rows, [1 or B, L, d] each.
        projection: rows and columns of the mask at this depth, over all rows of the layer.
        mask: the mask the layer was given, unprojected.
        history: keys stored in the cache before this forward, rotated [B, Hkv, past, d], or None.

    Raises:
        MissingSignal: the module has no separate query and key projections.
    """

    def __init__(
        self,
        attention: Any,
        projections: RawProjections,
        embeddings: tuple[Tensor, Tensor],
        projection: MaskProjection,
        mask: Tensor | None,
        history: Tensor | None,
    ) -> None:
        if not hasattr(attention, "q_proj") or not hasattr(attention, "k_proj"):
            raise MissingSignal(
                f"reading attention rows needs q_proj and k_proj; {type(attention).__name__} has "
                "neither. Use a method that reads no attention in the language model, such as "
                "DivPrune or TransPrune.ttv()."
            )

        self._module = attention
        self._projections = projections
        self._cos, self._sin = embeddings
        self._projection = projection
        self._mask = mask
        self._history = history
        self._rotate = rotary_of(attention)
        self._rotated: Tensor | None = None

    @property
    def past(self) -> int:
        """Number of keys in front of the first key of this forward."""
        return 0 if self._history is None else self._history.shape[2]

    def probabilities(self, sample: int, rows: Tensor) -> Tensor:
        """fp32 probabilities from `rows` (long [T], at this depth) to all keys. -> [H, T, K]."""
        query = self._query(sample, rows)  # [1, Hq, T, d]
        key = self._keys()[sample][None]  # [1, Hkv, K, d]

        # heads that share a key sit together, so no key is copied
        groups = query.shape[1] // key.shape[1]
        grouped = query.unflatten(1, (key.shape[1], groups))  # [1, Hkv, G, T, d]
        products = (grouped.flatten(2, 3) @ key.mT).unflatten(2, (groups, -1))  # [1, Hkv, G, T, K]
        logits = products.flatten(1, 2).float() * self._module.scaling  # [1, H, T, K]

        # Gemma-2 bounds its logits
        softcap = getattr(self._module, "attn_logit_softcapping", None)
        if softcap:
            logits = torch.tanh(logits / softcap) * softcap

        # the mask enters in fp32, whatever the dtype of the model
        closed = ~self._allowed(sample, rows)
        bias = torch.zeros_like(logits[:, :1]).masked_fill(closed, torch.finfo(torch.float32).min)
        if self._projection.bias is not None:
            bias = bias + self._projection.bias[sample]
        return (logits + bias).softmax(dim=-1)[0]  # over all keys: text and visual

    def keys(self, sample: int, rows: Tensor | slice, rotated: bool) -> Tensor:
        """fp32 keys of rows of this depth, with or without rotation. -> [Hkv, N, d]."""
        if rotated:
            return self._keys()[sample, :, self.past :][:, rows].float()

        # PACT compares keys without positions
        raw = self._projections.keys()[sample : sample + 1, rows]
        return split_heads(self._module, raw, "k_norm")[0].float()

    def mean_query(self, sample: int, rows: Tensor) -> Tensor:
        """fp32 mean of the unrotated queries of `rows`. -> [H, d]."""
        if hasattr(self._module, "q_norm"):
            # the mean of normalised queries is not the norm of their mean
            queries = self._projections.queries(sample, rows)
            return split_heads(self._module, queries, "q_norm")[0].float().mean(dim=1)

        mean = self._projections.mean_query(sample, rows)
        return split_heads(self._module, mean, "q_norm")[0, :, 0].float()

    def rotary_decay(self, sample: int, rows: Tensor, columns: Tensor | slice) -> Tensor:
        """The logit of two vectors of ones at the positions of `rows` and `columns`. -> [T, N].

        It is 1 where the positions are equal.
        """
        cos = _of_sample(self._cos, sample)[0].float()
        sin = _of_sample(self._sin, sample)[0].float()
        return (cos[rows] @ cos[columns].T + sin[rows] @ sin[columns].T) / cos.shape[-1]

    def _query(self, sample: int, rows: Tensor) -> Tensor:
        """Rotated queries of `rows`. -> [1, Hq, T, d]."""
        query = split_heads(self._module, self._projections.queries(sample, rows), "q_norm")
        cos = _of_sample(self._cos, sample)[:, rows]
        sin = _of_sample(self._sin, sample)[:, rows]
        rotated: Tensor = self._rotate(query, query[:, :1], cos, sin)[0]
        return rotated

    def _keys(self) -> Tensor:
        """Rotated keys of every row, earlier ones first; computed once. -> [B, Hkv, K, d]."""
        if self._rotated is None:
            key = split_heads(self._module, self._projections.keys(), "k_norm")
            # the rotation wants queries too; one head of the keys stands in
            key = self._rotate(key[:, :1], key, self._cos, self._sin)[1]
            if self._history is None:
                # a product with a transposed view would copy it for every sample, slowly in bf16
                self._rotated = key.contiguous()
            else:
                self._rotated = torch.cat([self._history, key], dim=2)

        assert self._rotated is not None
        return self._rotated

    def _allowed(self, sample: int, rows: Tensor) -> Tensor:
        """Which keys these rows may attend to. -> bool [1, 1, T, K]."""
        # a mask with a batch dimension of 1 serves every sample
        mask = self._mask
        if mask is not None and mask.shape[0] > 1:
            mask = mask[sample : sample + 1]
        return self._projection.of_sample(sample, rows).allowed(mask)


def _of_sample(table: Tensor, sample: int) -> Tensor:
    """One sample's row of a table [B, L, d], which the batch may share [1, L, d]."""
    return table if table.shape[0] == 1 else table[sample : sample + 1]


def split_heads(attention: Any, projected: Tensor, norm: str = "") -> Tensor:
    """[B, L, H * d] -> [B, H, L, d], with the per-head norm `norm` if the family has one."""
    heads = projected.unflatten(-1, (-1, attention.head_dim))
    normalise = getattr(attention, norm, None) if norm else None
    if normalise is not None:
        heads = normalise(heads)
    return heads.transpose(1, 2)


def rotary_of(attention: Any) -> Callable[..., Any]:
    """The family's own rotation: (queries, keys, cos, sin) -> both rotated."""
    # families rotate differently (interleaved, partial): the variant of the module's own file
    rotate: Callable[..., Any] = private(type(attention).__module__, "apply_rotary_pos_emb")
    return rotate
