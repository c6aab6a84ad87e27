"""Many questions about one picture in one forward, through the model's own weights.

A sequence is a prefix (`<s> USER:` and the picture) and *branches*, one per question. Each branch sees the prefix and
itself, and its positions go on where the prefix ends: exactly the prompt of a single question at inference, with the
picture encoded once for all of them. Attention is written out in blocks, so that the square over all branches, nearly
all of it forbidden, is never computed.

Shapes: B pictures, P prefix tokens, K branches of T tokens, H heads of width d.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Segment = tuple[int, int]  # branches, and tokens of each


class LayerWeights(NamedTuple):
    """The weights of one decoder layer, as its modules hold them."""

    norm_in: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    norm_mlp: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor

    @classmethod
    def of(cls, layer: Any) -> LayerWeights:
        """Those of a Llama decoder layer."""
        attention, mlp = layer.self_attn, layer.mlp
        first = (
            layer.input_layernorm,
            attention.q_proj,
            attention.k_proj,
            attention.v_proj,
            attention.o_proj,
        )
        second = (layer.post_attention_layernorm, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
        return cls(*(module.weight for module in (*first, *second)))


def run_packed(
    language_model: Any,
    prefix: Tensor,
    branches: Sequence[Tensor],
    hidden: Container[int] = (),
    layer: Callable[..., Tensor] | None = None,
) -> list[Tensor]:
    """Final hidden states of every branch token.

    Args:
        language_model: a LlamaModel.
        prefix: embeddings of the prefix, float [B, P, D].
        branches: ids of branches of one length each, long [B, K, T].
        hidden: layers in which branches see the first two tokens of the prefix only, not the picture.
        layer: the layer function; `layer_forward`, perhaps compiled.

    Returns:
        Per entry of `branches`, normed hidden states [B, K, T, D].
    """
    run = layer_forward if layer is None else layer
    length = prefix.shape[1]
    segments = tuple((ids.shape[1], ids.shape[2]) for ids in branches)
    rows = torch.cat(
        [
            prefix.float(),
            *(language_model.embed_tokens(ids).flatten(1, 2).float() for ids in branches),
        ],
        1,
    )
    positions = [
        torch.arange(length),
        *(length + torch.arange(tokens).repeat(count) for count, tokens in segments),
    ]
    cos, sin = language_model.rotary_emb(
        rows, torch.cat(positions).to(rows.device)[None]
    )  # [1, S, d]
    cos, sin = cos[:, :, None].float(), sin[:, :, None].float()
    for number, decoder in enumerate(language_model.layers):
        rows = run(rows, *LayerWeights.of(decoder), cos, sin, length, segments, number in hidden)
    rows = _rms(rows[:, length:], language_model.norm.weight)
    parts = rows.split([count * tokens for count, tokens in segments], dim=1)
    return [part.unflatten(1, segment) for part, segment in zip(parts, segments, strict=True)]


def layer_forward(
    rows: Tensor,
    norm_in: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    norm_mlp: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    cos: Tensor,
    sin: Tensor,
    prefix: int,
    segments: tuple[Segment, ...],
    blind: bool,
) -> Tensor:
    """One decoder layer over a packed sequence [B, S, D]; weights come as tensors, so one compiled graph serves all."""
    width = cos.shape[-1]
    projected = F.linear(_rms(rows, norm_in), torch.cat([query, key, value]))
    q, k, v = (
        part.unflatten(-1, (-1, width)) for part in projected.chunk(3, dim=-1)
    )  # [B, S, H, d]
    q, k = (_rotate(part, cos, sin).to(v.dtype) for part in (q, k))
    rows = rows + F.linear(_attend(q, k, v, prefix, segments, 2 if blind else prefix), out)
    opened, passed = F.linear(_rms(rows, norm_mlp), torch.cat([gate, up])).chunk(2, dim=-1)
    return rows + F.linear(F.silu(opened) * passed, down)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, prefix: int, segments: tuple[Segment, ...], seen: int
) -> Tensor:
    """[B, S, H, d] -> [B, S, H * d]; `seen` tokens of the prefix are visible to the branches."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # [B, H, S, d]
    scale = q.shape[-1] ** -0.5
    logits = _causal((q[:, :, :prefix] @ k[:, :, :prefix].mT).float() * scale)
    outputs = [logits.softmax(dim=-1).to(v.dtype) @ v[:, :, :prefix]]
    start = prefix
    for count, tokens in segments:
        rows = slice(start, start + count * tokens)
        start = rows.stop
        to_prefix = (q[:, :, rows] @ k[:, :, :seen].mT).float() * scale  # [B, H, K * T, P]
        own_q, own_k, own_v = (part[:, :, rows].unflatten(2, (count, tokens)) for part in (q, k, v))
        to_own = _causal((own_q @ own_k.mT).float() * scale).flatten(2, 3)  # [B, H, K * T, T]
        # one softmax over both parts, without joining them
        peak = torch.maximum(
            to_prefix.amax(-1, keepdim=True), to_own.amax(-1, keepdim=True)
        ).detach()
        to_prefix, to_own = (to_prefix - peak).exp(), (to_own - peak).exp()
        share = 1 / (to_prefix.sum(-1, keepdim=True) + to_own.sum(-1, keepdim=True))
        own = (to_own * share).to(v.dtype).unflatten(2, (count, tokens)) @ own_v
        outputs.append((to_prefix * share).to(v.dtype) @ v[:, :, :seen] + own.flatten(2, 3))
    return torch.cat(outputs, dim=2).transpose(1, 2).flatten(2)


def _causal(logits: Tensor) -> Tensor:
    """Forbid every row of the last two axes what comes after it."""
    size = logits.shape[-1]
    later = torch.ones(size, size, dtype=torch.bool, device=logits.device).triu(1)
    return logits.masked_fill(later, -1e30)


def _rms(rows: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    return rows * torch.rsqrt(rows.pow(2).mean(-1, keepdim=True) + eps) * weight


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin
