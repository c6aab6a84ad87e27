"""The trained scorer: visual tokens attend to the words of the question, and an MLP rates each.

Plain functions on plain tensors, so that training and inference run the same lines. A *module* is
the weights of one scorer by name. Shapes: N visual tokens, T words, D width of the language model,
I inner width, O ratings per token.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from transprune.core.plan import scorer_width as scorer_width

Module = Mapping[str, Tensor]

HEADS = 8  # a divisor of every inner width


def module_shapes(width: int, inner: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """The shape of every weight of a module, by name."""
    return {
        "rows_norm.weight": (width,),
        "rows_norm.bias": (width,),
        "words_norm.weight": (width,),
        "words_norm.bias": (width,),
        "query.weight": (inner, width),
        "key.weight": (inner, width),
        "value.weight": (inner, width),
        "out.weight": (inner, inner),
        "state_norm.weight": (inner,),
        "state_norm.bias": (inner,),
        "up.weight": (inner, inner),
        "up.bias": (inner,),
        "down.weight": (outputs, inner),
        "down.bias": (outputs,),
    }


def draw_module(
    width: int, inner: int, outputs: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """A module before training: random matrices, norms that change nothing. float32."""
    drawn = {}
    for name, shape in module_shapes(width, inner, outputs).items():
        if len(shape) == 2:
            values = torch.randn(shape, generator=generator, dtype=torch.float32)
            # ratings begin near zero, so that no token is preferred by chance
            scale = 0.1 if name.startswith("down") else 1.0
            drawn[name] = values * scale * shape[1] ** -0.5
        else:
            one = name.endswith("norm.weight")
            drawn[name] = torch.full(shape, float(one), dtype=torch.float32)

    return drawn


def rate(module: Module, rows: Tensor, words: Tensor) -> Tensor:
    """Rate visual tokens [N, D] by the words [T, D] they attend to. -> float32 [N, O].

    Cross-attention with the tokens as queries and the words as keys and values, a residual, a norm,
    and an MLP of two layers.
    """
    rows = _norm(module, "rows_norm", rows)
    words = _norm(module, "words_norm", words)
    query = F.linear(rows, module["query.weight"])  # [N, I]
    key = F.linear(words, module["key.weight"])  # [T, I]
    value = F.linear(words, module["value.weight"])

    # [n, I] -> [H, n, I / H]
    q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(0, 1) for part in (query, key, value))
    weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)  # [H, N, T]
    attended = (weights @ v).transpose(0, 1).flatten(1)  # [N, I]

    state = query + F.linear(attended, module["out.weight"])
    state = _norm(module, "state_norm", state)
    hidden = F.gelu(F.linear(state, module["up.weight"], module["up.bias"]))
    return F.linear(hidden, module["down.weight"], module["down.bias"])


def _norm(module: Module, name: str, rows: Tensor) -> Tensor:
    """Layer norm in float32: hidden states may be half precision, and some of their values large."""
    weight = module[f"{name}.weight"]
    return F.layer_norm(rows.float(), weight.shape, weight, module[f"{name}.bias"])
