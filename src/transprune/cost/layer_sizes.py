"""The work and the memory of one decoder layer for one token, in multiply-adds and numbers.

Most models repeat one layer. Those that do not (mixtures of experts, recurrent layers between
attention layers, layers that share keys) have one entry per layer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerSizes:
    """One decoder layer.

    Attributes:
        projections: multiply-adds of everything a token costs beside attention and MLP: the
            queries, keys, values and output; a gate of the output; in a recurrent layer also its
            convolution and the update of its state.
        kv_projections: those of them that make keys and values.
        q_width: width of all query heads; 0 in a recurrent layer, which attends to nothing.
        kv_width: width of the keys that are stored, and of as many values; 0 in a recurrent layer,
            and where the keys of another layer are read.
        mlp: multiply-adds of the gated MLP, or of the router, the experts that one token visits and
            those that all tokens visit.
        output: those of `projections` that put the heads together again (`o_proj`).
        beside: those of `mlp` that are no part of the layer's MLP module: experts beside it, and
            the maps around a layer's own embedding of a token.
    """

    projections: int
    kv_projections: int
    q_width: int
    kv_width: int
    mlp: int
    output: int = 0
    beside: int = 0

    @property
    def attends(self) -> bool:
        """Whether its tokens attend to each other."""
        return self.q_width > 0


def plain_layer(hidden: int, q_width: int, kv_width: int, intermediate: int) -> LayerSizes:
    """A layer of attention and one gated MLP, as in Llama."""
    keys_and_values = 2 * hidden * kv_width
    return LayerSizes(
        projections=2 * hidden * q_width + keys_and_values,  # q and o
        kv_projections=keys_and_values,
        q_width=q_width,
        kv_width=kv_width,
        mlp=3 * hidden * intermediate,  # gate, up and down
        output=hidden * q_width,
    )
