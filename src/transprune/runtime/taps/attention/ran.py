"""What a decoder layer that has run projected, kept for one reader until it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from transprune.families.layers import LayerKind
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import Hooks
from transprune.runtime.taps.attention.rows import (
    AheadProjections,
    RawProjections,
    TappedProjections,
)
from transprune.runtime.taps.base import not_measured

PROJECTIONS = ("q_proj", "k_proj")


@dataclass(frozen=True)
class Ran:
    """One layer of this forward.

    Attributes:
        projections: its queries and keys, not yet split into heads.
        embeddings: cos and sin of its rows, [1 or B, L, d] each.
        mask: the mask it was given, in coordinates of the unpruned forward.
    """

    projections: RawProjections
    embeddings: tuple[Tensor, Tensor]
    mask: Any


class RanLayer:
    """Captures what decoder layer `index` projects, and the arguments it was given.

    Args:
        layers, kinds: of the model.
        index: 0-based.
        reader: who reads it; several readers of one layer do not take it from each other.
    """

    def __init__(
        self, layers: Sequence[Any], kinds: Sequence[LayerKind], index: int, reader: str
    ) -> None:
        self._layer = layers[index]
        self._kind = kinds[index]
        self._index = index
        self._reader = reader

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks on the layer and on its projections."""
        attention = self._kind.mixer

        def keep_mask(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            self._keep(hooks.running(), "mask", kwargs.get("attention_mask"))

        def keep_embeddings(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            self._keep(hooks.running(), "embeddings", kwargs["position_embeddings"])

        def keep_output(name: str, module: nn.Module, args: Any, output: Tensor) -> None:
            self._keep(hooks.running(), name, output)

        # first of all: later hooks fit the mask to the rows, and layers of other kinds have others
        hooks.pruning.before(self._layer, keep_mask, prepend=True)
        hooks.pruning.before(attention, keep_embeddings)
        for name in PROJECTIONS:
            module = getattr(attention, name, None)
            if module is not None:
                hooks.pruning.after(module, partial(keep_output, name))

    def take(self, state: Pass) -> Ran:
        """What was captured; it is let go.

        Raises:
            MissingSignal: a module did not run.
        """
        captured = []
        for name in (*PROJECTIONS, "embeddings", "mask"):
            key = (self._reader, self._index, name)
            if key not in state.captured:
                raise not_measured(self._index, name if name in PROJECTIONS else "self_attn")
            # taken out, so that the tensors are freed when they have been read
            captured.append(state.captured.pop(key))

        query, key_states, embeddings, mask = captured

        frozen = state.frozen_input
        if frozen is not None and frozen.index == self._index:
            # a frozen layer projected only some of its rows
            ahead = AheadProjections(self._kind, frozen.hidden)
            return Ran(ahead, frozen.position_embeddings, mask)

        return Ran(TappedProjections(query, key_states), embeddings, mask)

    def _keep(self, state: Pass | None, name: str, value: Any) -> None:
        if state is not None and state.layout is not None:
            state.captured[self._reader, self._index, name] = value
