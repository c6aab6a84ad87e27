"""Many questions about one picture in one forward, through the model's own weights.

A sequence is a *prefix* (`<s> USER:` and the picture) followed by *branches*, one per question.
Each branch attends to the prefix and to itself, and its positions continue from the prefix. This
is exactly the prompt of a single question at inference, but the picture is encoded once for all
questions. Attention is written in blocks: nearly all of the square over all branches is masked,
and it is never computed.

Shapes: B pictures, P prefix tokens, K branches of T tokens, S = P + sum of K * T, H heads of
width d.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from transprune.nano.products import Matrix, product

Segment = tuple[int, int]  # number of branches, and tokens of each

# what a layer sees of the prefix when the picture is masked: `<s> USER:`
TEXT_PREFIX = 2


class LayerWeights(NamedTuple):
    """The weights of one decoder layer, as its modules store them, or with an update."""

    norm_in: Tensor
    query: Matrix
    key: Matrix
    value: Matrix
    out: Matrix
    norm_mlp: Tensor
    gate: Matrix
    up: Matrix
    down: Matrix

    @classmethod
    def of(cls, layer: Any) -> LayerWeights:
        """Take the weights of a Llama decoder layer."""
        attention = layer.self_attn
        mlp = layer.mlp

        return cls(
            norm_in=layer.input_layernorm.weight,
            query=attention.q_proj.weight,
            key=attention.k_proj.weight,
            value=attention.v_proj.weight,
            out=attention.o_proj.weight,
            norm_mlp=layer.post_attention_layernorm.weight,
            gate=mlp.gate_proj.weight,
            up=mlp.up_proj.weight,
            down=mlp.down_proj.weight,
        )


def run_packed(
    language_model: Any,
    prefix: Tensor,
    branches: Sequence[Tensor],
    masked_layers: Container[int] = (),
    layer: Callable[..., Tensor] | None = None,
    weights: Callable[[int, Any], LayerWeights] | None = None,
    positions: Tensor | None = None,
    after: int | None = None,
) -> list[Tensor]:
    """Compute the final hidden states of every branch token.

    Args:
        language_model: a LlamaModel.
        prefix: embeddings of the prefix, float [B, P, D].
        branches: token ids, one entry per branch length, each long [B, K, T].
        masked_layers: layers in which branches attend to the first two tokens of the prefix only,
            and not to the picture.
        layer: the layer function; `layer_forward` by default, or a compiled version of it.
        weights: gives the weights of a layer, from its number and module; by default its own.
        positions: of the prefix's tokens, long [B or 1, P], ascending; by default 0 to P - 1.
        after: position of the first token of every branch; by default P.

    Returns:
        Per entry of `branches`, normed hidden states [B, K, T, D].
    """
    run_layer = layer_forward if layer is None else layer
    weights_of = _own_weights if weights is None else weights
    length = prefix.shape[1]
    segments = tuple((ids.shape[1], ids.shape[2]) for ids in branches)

    # [B, P, D] and [B, K, T] -> [B, S, D]
    embedded = [language_model.embed_tokens(ids).flatten(1, 2).float() for ids in branches]
    rows = torch.cat([prefix.float(), *embedded], 1)
    if positions is None:
        positions = torch.arange(length)[None]
    after = length if after is None else after
    cos, sin = _rotary(language_model, rows, positions, after, segments)

    for number, decoder in enumerate(language_model.layers):
        masked = number in masked_layers
        rows = run_layer(rows, *weights_of(number, decoder), cos, sin, length, segments, masked)

    rows = _rms(rows[:, length:], language_model.norm.weight)
    parts = rows.split([count * tokens for count, tokens in segments], dim=1)
    # [B, K * T, D] -> [B, K, T, D]
    return [part.unflatten(1, segment) for part, segment in zip(parts, segments, strict=True)]


def _own_weights(number: int, decoder: Any) -> LayerWeights:
    return LayerWeights.of(decoder)


def _rotary(
    language_model: Any,
    rows: Tensor,
    positions: Tensor,
    after: int,
    segments: tuple[Segment, ...],
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of all positions; every branch begins at position `after`.

    -> two float [B or 1, S, 1, d].
    """
    places = [torch.arange(tokens).repeat(count) for count, tokens in segments]
    branches = after + torch.cat(places).expand(len(positions), -1)

    every = torch.cat([positions.to(rows.device), branches.to(rows.device)], dim=1)  # [B, S]
    cos, sin = language_model.rotary_emb(rows, every)  # [B, S, d]
    return cos[:, :, None].float(), sin[:, :, None].float()


def layer_forward(
    rows: Tensor,
    norm_in: Tensor,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    out: Matrix,
    norm_mlp: Tensor,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
    cos: Tensor,
    sin: Tensor,
    prefix: int,
    segments: tuple[Segment, ...],
    masked: bool,
) -> Tensor:
    """One decoder layer over a packed sequence [B, S, D].

    Weights are arguments and not a module, so that one compiled graph serves all layers. Where
    there are fewer key heads than query heads, each serves a group of neighbouring query heads.
    """
    width = cos.shape[-1]
    visible = TEXT_PREFIX if masked else prefix

    # one product for all three projections; [B, S, all heads * d] -> three [B, S, H, d]
    projected = product(_rms(rows, norm_in), query, key, value)
    sizes = (query.shape[0], key.shape[0], value.shape[0])
    q, k, v = (part.unflatten(-1, (-1, width)) for part in projected.split(sizes, dim=-1))
    q = _rotate(q, cos, sin).to(v.dtype)
    k = _rotate(k, cos, sin).to(v.dtype)
    if (group := q.shape[2] // k.shape[2]) > 1:
        k, v = (part.repeat_interleave(group, dim=2) for part in (k, v))

    rows = rows + product(_attend(q, k, v, prefix, segments, visible), out)

    gated, linear = product(_rms(rows, norm_mlp), gate, up).chunk(2, dim=-1)
    return rows + product(F.silu(gated) * linear, down)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, prefix: int, segments: tuple[Segment, ...], visible: int
) -> Tensor:
    """Attention of prefix and branches. Three [B, S, H, d] -> [B, S, H * d].

    Branches attend to the first `visible` tokens of the prefix.
    """
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # [B, H, S, d]
    scale = q.shape[-1] ** -0.5

    logits = _causal((q[:, :, :prefix] @ k[:, :, :prefix].mT).float() * scale)
    outputs = [logits.softmax(dim=-1).to(v.dtype) @ v[:, :, :prefix]]

    start = prefix
    for segment in segments:
        rows = slice(start, start + segment[0] * segment[1])
        start = rows.stop
        outputs.append(
            _attend_branches(
                q[:, :, rows],
                k[:, :, rows],
                v[:, :, rows],
                k[:, :, :visible],
                v[:, :, :visible],
                segment,
            )
        )

    # [B, H, S, d] -> [B, S, H * d]
    return torch.cat(outputs, dim=2).transpose(1, 2).flatten(2)


def _attend_branches(
    q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor, segment: Segment
) -> Tensor:
    """Attention of the branches of one length to the prefix and to themselves.

    q, k, v: [B, H, K * T, d]; prefix_k, prefix_v: [B, H, P, d]. -> [B, H, K * T, d].
    """
    scale = q.shape[-1] ** -0.5
    to_prefix = (q @ prefix_k.mT).float() * scale  # [B, H, K * T, P]

    own_q, own_k, own_v = (part.unflatten(2, segment) for part in (q, k, v))  # [B, H, K, T, d]
    to_own = _causal((own_q @ own_k.mT).float() * scale).flatten(2, 3)  # [B, H, K * T, T]

    # one softmax over both parts, without concatenating them
    peak = torch.maximum(to_prefix.amax(-1, keepdim=True), to_own.amax(-1, keepdim=True)).detach()
    to_prefix = (to_prefix - peak).exp()
    to_own = (to_own - peak).exp()
    share = 1 / (to_prefix.sum(-1, keepdim=True) + to_own.sum(-1, keepdim=True))

    from_own = (to_own * share).to(v.dtype).unflatten(2, segment) @ own_v  # [B, H, K, T, d]
    return (to_prefix * share).to(v.dtype) @ prefix_v + from_own.flatten(2, 3)


def _causal(logits: Tensor) -> Tensor:
    """Mask, in the square of the last two axes, every key after its query."""
    size = logits.shape[-1]
    later = torch.ones(size, size, dtype=torch.bool, device=logits.device).triu(1)
    return logits.masked_fill(later, -1e30)


def _rms(rows: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """RMSNorm, with the epsilon of the bundled configuration."""
    return rows * torch.rsqrt(rows.pow(2).mean(-1, keepdim=True) + eps) * weight


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding, halves convention."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin
