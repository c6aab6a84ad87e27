"""Attention probabilities of a few query rows, from the layer's own modules.

Nobody materialises an L x L map. The modules are *called*, never their weights read, so LoRA, quantised linears and
offload hooks all apply, and the layer itself stays on whatever kernel it runs.

Two sources. *Next*: the layer behind the boundary has not run, so its keys are projected ahead of time for every
token and its queries for the asked rows only; the survivors' keys are handed to the layer afterwards. *Previous*: the
layer in front of the boundary has run, and its projections were tapped on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from transprune.core.library import private
from transprune.errors import MissingSignal
from transprune.runtime.masks import Projection


class Projector(Protocol):
    """Gives raw query and key projections of the rows of a layer."""

    def queries(self, sample: int, rows: Tensor) -> Tensor:
        """[1, T, Hq * d]."""

    def keys(self) -> Tensor:
        """[B, L, Hkv * d]."""

    def mean_query(self, sample: int, rows: Tensor) -> Tensor:
        """[1, 1, Hq * d]."""


class NextLayer:
    """Projects on demand, from the hidden states [B, L, D] about to enter `layer`."""

    def __init__(self, layer: Any, hidden: Tensor) -> None:
        self._attention, self.normalised = layer.self_attn, layer.input_layernorm(hidden)
        self._keys: Tensor | None = None

    def queries(self, sample: int, rows: Tensor) -> Tensor:
        """Queries of the asked rows only."""
        return self._attention.q_proj(self.normalised[sample, rows][None])

    def keys(self) -> Tensor:
        """Keys of every row, projected once."""
        if self._keys is None:
            self._keys = self._attention.k_proj(self.normalised)
        assert self._keys is not None
        return self._keys

    def mean_query(self, sample: int, rows: Tensor) -> Tensor:
        """The mean of the asked rows' queries: the projection of their mean, as it is linear."""
        return self._attention.q_proj(self.normalised[sample, rows].mean(dim=0)[None, None])


@dataclass
class PreviousLayer:
    """What the layer in front of the boundary projected: queries [B, L, Hq * d], keys [B, L, Hkv * d]."""

    query: Tensor
    key: Tensor

    def queries(self, sample: int, rows: Tensor) -> Tensor:
        """Queries of the asked rows."""
        return self.query[sample, rows][None]

    def keys(self) -> Tensor:
        """Keys of every row."""
        return self.key

    def mean_query(self, sample: int, rows: Tensor) -> Tensor:
        """The mean of the asked rows' queries."""
        return self.query[sample, rows].mean(dim=0)[None, None]


class AttentionRows:
    """Attention of one decoder layer from chosen rows to all keys.

    Args:
        attention: the layer's attention module.
        projector: where raw queries and keys come from.
        embeddings: cos and sin of the layer's rows, [1 or B, L, d] each.
        projection: rows and columns of the mask at this depth, over all rows of the layer.
        mask: the mask the layer was given, unprojected.
        history: keys already in the cache before this forward, rotated [B, Hkv, past, d], or None.
    """

    def __init__(
        self,
        attention: Any,
        projector: Projector,
        embeddings: tuple[Tensor, Tensor],
        projection: Projection,
        mask: Tensor | None,
        history: Tensor | None,
    ) -> None:
        if not hasattr(attention, "q_proj") or not hasattr(attention, "k_proj"):
            raise MissingSignal(
                f"reading attention rows needs q_proj and k_proj; {type(attention).__name__} has neither. Use a method "
                "that reads no attention in the language model, such as DivPrune or TransPrune.ttv()."
            )
        self._module, self._projector = attention, projector
        self._cos, self._sin = embeddings
        self._projection, self._mask, self._history = projection, mask, history
        self._rotate = rotary_of(attention)
        self._rotated: Tensor | None = None

    @property
    def past(self) -> int:
        """Keys in front of the first key of this forward."""
        return 0 if self._history is None else self._history.shape[2]

    def probabilities(self, sample: int, rows: Tensor) -> Tensor:
        """fp32 probabilities of `rows` (long [T], row numbers of this depth) over all keys. -> [H, T, K]."""
        query = self._query(sample, rows)  # [1, Hq, T, d]
        key = self._keys()[sample][None]  # [1, Hkv, K, d]
        groups = query.shape[1] // key.shape[1]
        grouped = query.unflatten(
            1, (key.shape[1], groups)
        )  # heads that share a key sit together, no key is copied
        products = (grouped.flatten(2, 3) @ key.mT).unflatten(2, (groups, -1))  # [1, Hkv, G, T, K]
        logits = products.flatten(1, 2).float() * self._module.scaling
        softcap = getattr(self._module, "attn_logit_softcapping", None)
        if softcap:
            logits = torch.tanh(logits / softcap) * softcap
        bias = torch.zeros_like(logits[:, :1]).masked_fill(
            ~self._allowed(sample, rows), torch.finfo(torch.float32).min
        )
        if self._projection.bias is not None:
            bias = bias + self._projection.bias[sample]
        return (logits + bias).softmax(dim=-1)[0]

    def keys(self, sample: int, rows: Tensor | slice, rotated: bool) -> Tensor:
        """fp32 keys of rows of this depth, with or without rotation. -> [Hkv, N, d]."""
        if rotated:
            return self._keys()[sample, :, self.past :][:, rows].float()
        return self._heads(self._projector.keys()[sample : sample + 1, rows], "k_norm")[0].float()

    def mean_query(self, sample: int, rows: Tensor) -> Tensor:
        """fp32 mean of the unrotated queries of `rows`. -> [H, d]."""
        if hasattr(
            self._module, "q_norm"
        ):  # the mean of normalised queries is not the norm of their mean
            return (
                self._heads(self._projector.queries(sample, rows), "q_norm")[0].float().mean(dim=1)
            )
        return self._heads(self._projector.mean_query(sample, rows), "q_norm")[0, :, 0].float()

    def rotary_decay(self, sample: int, rows: Tensor, columns: Tensor | slice) -> Tensor:
        """The logit of two vectors of ones at the positions of `rows` and `columns`, 1 at no distance. -> [T, N]."""
        cos, sin = (self._of_sample(table, sample)[0].float() for table in (self._cos, self._sin))
        return (cos[rows] @ cos[columns].T + sin[rows] @ sin[columns].T) / cos.shape[-1]

    def _query(self, sample: int, rows: Tensor) -> Tensor:
        query = self._heads(self._projector.queries(sample, rows), "q_norm")
        cos, sin = (self._of_sample(table, sample)[:, rows] for table in (self._cos, self._sin))
        return self._rotate(query, query[:, :1], cos, sin)[0]

    def _keys(self) -> Tensor:
        if self._rotated is None:
            key = self._heads(self._projector.keys(), "k_norm")
            key = self._rotate(key[:, :1], key, self._cos, self._sin)[1]
            # contiguous: a product with a transposed view would copy it for every sample and be slow in bf16
            self._rotated = (
                key.contiguous()
                if self._history is None
                else torch.cat([self._history, key], dim=2)
            )
        assert self._rotated is not None
        return self._rotated

    def _heads(self, projected: Tensor, norm: str) -> Tensor:
        return split_heads(self._module, projected, norm)

    def _allowed(self, sample: int, rows: Tensor) -> Tensor:
        mask = self._mask
        if mask is not None and mask.shape[0] > 1:
            mask = mask[sample : sample + 1]
        return self._projection.of_sample(sample, rows).allowed(mask)

    @staticmethod
    def _of_sample(table: Tensor, sample: int) -> Tensor:
        return table if table.shape[0] == 1 else table[sample : sample + 1]


def split_heads(attention: Any, projected: Tensor, norm: str = "") -> Tensor:
    """[B, L, H * d] -> [B, H, L, d], with the family's per-head norm (`q_norm`, `k_norm`) if it has one."""
    heads = projected.unflatten(-1, (-1, attention.head_dim))
    normalise = getattr(attention, norm, None) if norm else None
    return (heads if normalise is None else normalise(heads)).transpose(1, 2)


def rotary_of(attention: Any) -> Callable[..., Any]:
    """The family's own rotation: (queries, keys, cos, sin) -> both rotated."""
    return private(type(attention).__module__, "apply_rotary_pos_emb")
