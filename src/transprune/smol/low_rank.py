"""The low-rank update of the language model: per matrix, two thin factors whose product is added.

As in LoRA (Hu et al., ICLR 2022, arXiv 2106.09685), without a scale: W + up @ down, where `up`
begins at zero. Once added, the model is an ordinary one again.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from transprune.nano.packed import LayerWeights
from transprune.nano.products import Updated

# of a decoder layer: name in `LayerWeights` -> name of the module
MATRICES = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


class LowRank(nn.Module):
    """The factors of every matrix of every decoder layer, in fp32.

    Args:
        language: a LlamaModel.
        rank: columns of `up`, rows of `down`.
        seed: of the first weights.
    """

    def __init__(self, language: Any, rank: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.rank = rank
        self.factors = nn.ParameterDict()

        for number, layer in enumerate(language.layers):
            for name, place in MATRICES.items():
                rows, columns = layer.get_submodule(place).weight.shape
                down = torch.randn(rank, columns, generator=generator) / math.sqrt(columns)
                self.factors[f"{number}_{name}_up"] = nn.Parameter(torch.zeros(rows, rank))
                self.factors[f"{number}_{name}_down"] = nn.Parameter(down)

    def weights(self, number: int, layer: Any) -> LayerWeights:
        """The weights of a layer with its update, for `nano.packed.run_packed`."""
        own = LayerWeights.of(layer)
        updated: dict[str, Any] = {
            name: Updated(getattr(own, name), *self._pair(number, name)) for name in MATRICES
        }
        return own._replace(**updated)

    @torch.no_grad()
    def add_to(self, language: Any) -> None:
        """Add the update to a language model of the same shape, once and for all."""
        for number, layer in enumerate(language.layers):
            for name, place in MATRICES.items():
                weight = layer.get_submodule(place).weight
                up, down = self._pair(number, name)
                weight.add_((up @ down).to(weight.dtype))

    def _pair(self, number: int, name: str) -> tuple[Tensor, Tensor]:
        return self.factors[f"{number}_{name}_up"], self.factors[f"{number}_{name}_down"]
