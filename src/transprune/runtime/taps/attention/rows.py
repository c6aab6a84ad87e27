"""Attention probabilities of a few query rows, from the layer's own modules.

No L x L map is ever materialised. The modules are *called*, never their weights read, so LoRA,
quantised linears and offload hooks all apply, and the layer itself stays on whatever kernel it
runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from transprune.core.rows import Rows, upload
from transprune.errors import MissingSignal
from transprune.families.layers import NORMS, LayerKind
from transprune.runtime.layer_inputs.masks import MaskProjection
from transprune.runtime.layer_inputs.rotation import rotate_one


class RawProjections(Protocol):
    """Query and key projections of the rows of a layer, before heads are split and rotated.

    `samples` takes G of the B samples: a slice, or long [G].
    """

    def queries(self, samples: slice | Tensor, rows: Rows) -> Tensor:
        """[G, T, Hq * d]."""

    def keys(self) -> Tensor:
        """[B, L, Hkv * d]."""

    def mean_query(self, sample: int, rows: Rows) -> Tensor:
        """[1, 1, Hq * d]."""


class AheadProjections:
    """Projects on demand, from the hidden states [B, L, D] that are about to enter a layer.

    Raises:
        MissingSignal: nothing is known that normalises them.
    """

    def __init__(self, kind: LayerKind, hidden: Tensor) -> None:
        if kind.norm is None:
            raise MissingSignal(
                "attention is read ahead of a layer from its normalised input, and "
                f"{kind.family.title} has no norm there under a known name ({', '.join(NORMS)})"
            )

        self._attention = kind.mixer
        # kept by `store_survivors`, so that the layer does not normalise again
        self.normalised: Tensor = kind.norm(hidden)
        self._keys: Tensor | None = None

    def queries(self, samples: slice | Tensor, rows: Rows) -> Tensor:
        """Queries of these rows only."""
        return self._attention.q_proj(self.normalised[samples][:, rows])

    def keys(self) -> Tensor:
        """Keys of every row, projected once."""
        if self._keys is None:
            self._keys = self._attention.k_proj(self.normalised)
        assert self._keys is not None
        return self._keys

    def mean_query(self, sample: int, rows: Rows) -> Tensor:
        """The mean of these rows' queries: the projection of their mean, as it is linear."""
        mean = self.normalised[sample, rows].mean(dim=0)  # [T, D] -> [D]
        return self._attention.q_proj(mean[None, None])


@dataclass
class TappedProjections:
    """What a layer that has run projected: queries [B, L, Hq * d], keys [B, L, Hkv * d]."""

    query: Tensor
    key: Tensor

    def queries(self, samples: slice | Tensor, rows: Rows) -> Tensor:
        """Queries of these rows."""
        return self.query[samples][:, rows]

    def keys(self) -> Tensor:
        """Keys of every row."""
        return self.key

    def mean_query(self, sample: int, rows: Rows) -> Tensor:
        """The mean of these rows' queries."""
        return self.query[sample, rows].mean(dim=0)[None, None]


class AttentionRows:
    """Attention of one decoder layer from chosen rows to all keys.

    Args:
        kind: the layer.
        projections: raw queries and keys.
        embeddings: cos and sin of the layer's rows, [1 or B, L, d] each.
        project: makes the rows and columns of the mask at this depth, over all rows of the layer.
        mask: the mask the layer was given, unprojected.
        history: keys stored in the cache before this forward, rotated [B, Hkv, past, d], or None.
        causal: each row attends to all keys in front of it and to nothing else.
        rotated: rotated keys of every row, earlier ones first [B, Hkv, past + L, d], where a cache
            has them; None to rotate those of `projections`.

    Raises:
        MissingSignal: the layer has no query and key projections.
    """

    def __init__(
        self,
        kind: LayerKind,
        projections: RawProjections,
        embeddings: tuple[Tensor, Tensor],
        project: Callable[[], MaskProjection],
        mask: Tensor | None,
        history: Tensor | None,
        causal: bool,
        rotated: Tensor | None = None,
    ) -> None:
        attention = kind.mixer
        missing = [name for name in ("q_proj", "k_proj") if not hasattr(attention, name)]
        if missing:
            raise MissingSignal(
                f"attention rows need q_proj and k_proj; {type(attention).__name__} lacks {missing}"
            )

        self._kind = kind
        self._module = attention
        self._projections = projections
        self._cos, self._sin = embeddings
        self._project = project
        self._mask = mask
        self._history = history
        self._causal = causal
        self._rotated = rotated

    @property
    def past(self) -> int:
        """Number of keys in front of the first key of this forward."""
        return 0 if self._history is None else self._history.shape[2]

    def size(self, samples: int, queries: int) -> int:
        """How many probabilities there are from so many query rows of so many samples."""
        keys = self._keys()
        heads = keys.shape[1] * getattr(self._module, "num_key_value_groups", 1)
        return samples * queries * heads * keys.shape[2]

    def probabilities(self, samples: slice | Tensor, rows: Rows) -> Tensor:
        """fp32 probabilities from `rows` of each of G samples to all keys. -> [G, H, T, K]."""
        query = self._query(samples, rows)  # [G, Hq, T, d]
        key = self._keys()[samples]  # [G, Hkv, K, d]

        # heads that share a key sit together, so no key is copied
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            query = query.reshape(len(query), key.shape[1], -1, key.shape[3])  # [G, Hkv, g * T, d]

        products = query @ key.mT
        if groups > 1:
            products = products.view(len(query), groups * key.shape[1], -1, key.shape[2])

        logits = products.float().mul_(self._module.scaling)

        # Gemma-2 bounds its logits
        softcap = getattr(self._module, "attn_logit_softcapping", None)
        if softcap:
            logits = torch.tanh(logits / softcap) * softcap

        return self._close(logits, samples, rows).softmax(dim=-1)  # over text and visual keys

    def keys(self, sample: int, rows: Rows, rotated: bool) -> Tensor:
        """fp32 keys of rows of this depth, with or without rotation. -> [Hkv, N, d]."""
        if rotated:
            return self._keys()[sample, :, self.past :][:, rows].float()

        # PACT compares keys without positions
        raw = self._projections.keys()[sample : sample + 1, rows]
        return self._kind.keys(raw)[0].float()

    def mean_query(self, sample: int, rows: Rows) -> Tensor:
        """fp32 mean of the unrotated queries of `rows`. -> [H, d]."""
        if self._kind.normalises_queries:
            # the mean of normalised queries is not the norm of their mean
            queries = self._projections.queries(slice(sample, sample + 1), rows)
            return self._kind.queries(queries)[0].float().mean(dim=1)

        mean = self._projections.mean_query(sample, rows)
        return self._kind.queries(mean)[0, :, 0].float()

    def rotary_decay(self, sample: int, rows: Rows, columns: Rows) -> Tensor:
        """The logit of two vectors of ones at the positions of `rows` and `columns`. -> [T, N].

        It is 1 where the positions are equal.
        """
        one = slice(sample, sample + 1)
        cos = _of_samples(self._cos, one)[0].float()
        sin = _of_samples(self._sin, one)[0].float()
        return (cos[rows] @ cos[columns].T + sin[rows] @ sin[columns].T) / cos.shape[-1]

    def _query(self, samples: slice | Tensor, rows: Rows) -> Tensor:
        """Rotated queries of `rows`. -> [G, Hq, T, d]."""
        query = self._kind.queries(self._projections.queries(samples, rows))
        cos = _of_samples(self._cos, samples)[:, rows]
        sin = _of_samples(self._sin, samples)[:, rows]
        return rotate_one(self._kind.rotation, query, cos, sin)

    def _keys(self) -> Tensor:
        """Rotated keys of every row, earlier ones first; computed once. -> [B, Hkv, K, d]."""
        if self._rotated is None:
            key = self._kind.keys(self._projections.keys())
            key = rotate_one(self._kind.rotation, key, self._cos, self._sin)
            if self._history is None:
                self._rotated = key
            else:
                self._rotated = torch.cat([self._history, key], dim=2)

        assert self._rotated is not None
        return self._rotated

    def _close(self, logits: Tensor, samples: slice | Tensor, rows: Rows) -> Tensor:
        """The logits [G, H, T, K] without the keys that these rows may not attend to."""
        lowest = torch.finfo(torch.float32).min
        queries = logits.shape[2]
        is_tail = isinstance(rows, slice) and rows.stop + self.past == logits.shape[3]
        if self._causal and is_tail:
            # the last rows, so of the last keys each may not attend to those behind it
            if queries > 1:
                behind = upload(~np.tri(queries, dtype=bool), logits.device)
                logits[..., -queries:].masked_fill_(behind, lowest)
            return logits

        projection = self._project()
        mask = self._mask
        # a mask with a batch dimension of 1 serves every sample
        if mask is not None and mask.shape[0] > 1:
            mask = mask[samples]

        of_samples = projection.of_samples(samples, rows)
        # the mask enters in fp32, whatever the dtype of the model
        closed = ~of_samples.allowed(mask)  # [G, 1, T, K]
        bias = torch.zeros_like(logits[:, :1]).masked_fill(closed, lowest)
        if of_samples.bias is not None:
            bias = bias + of_samples.bias[:, None, None]

        return logits + bias


def _of_samples(table: Tensor, samples: slice | Tensor) -> Tensor:
    """Rows of some samples of a table [B, L, d], which the batch may share [1, L, d]."""
    return table if table.shape[0] == 1 else table[samples]
