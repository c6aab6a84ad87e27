"""What a method may ask for, computed when it asks.

A view shows one pool of one sample: the visual tokens of that sample (or of one of its images), without padding and
without batch. A batch therefore equals its singles by construction, and a method never meets a mask. Heavy work that
is shared by the batch (the key projection of a layer) is done once by the runtime behind the view.

Shapes: N visual tokens in the pool, H heads, T query rows, D width of the language model, d width of the metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from transprune.core.signals import JointSpace as JointSpace
from transprune.core.signals import VisionSignals as VisionSignals
from transprune.errors import MissingSignal

Scores = dict[str, Tensor]
Queries = Literal["instruction", "last"]


@dataclass(frozen=True)
class Selection:
    """What a method decides about one pool.

    Attributes:
        keep: long [K], ascending positions within the candidates of the view.
        features: [K, D] rows that replace the kept ones (merging methods), or None to leave them as they are.
        key_bias: float32 [K], added to the logits of the kept tokens as keys in every layer from here on, also while
            decoding: the logarithm of a size is proportional attention. None where no key weighs more than another.
        scores: what the choice rests on, float [N] each; `"score"` is the one that ranked.
    """

    keep: Tensor
    features: Tensor | None = None
    scores: Scores = field(default_factory=dict)
    key_bias: Tensor | None = None


@dataclass(frozen=True)
class View:
    """What every view has.

    Attributes:
        boundary: 0-based decoder layer in front of which the choice is made.
        count: tokens to keep here, 1..N.
        candidates: long [N], original numbers of the visual tokens that are still there.
        merged: how many of `count` the plan of the method sets aside for tokens made of dropped ones.
    """

    boundary: int
    count: int
    candidates: Tensor
    _hidden: Callable[[], Tensor]
    merged: int = field(default=0, kw_only=True)

    @property
    def hidden(self) -> Tensor:
        """The rows of the candidates as they enter the layer; at boundary 0 the projected features. [N, D]."""
        return self._hidden()


@dataclass(frozen=True)
class ProjectorView(View):
    """The visual tokens before the language model."""

    _vision: Callable[[], VisionSignals] | None = None
    _instruction: Callable[[], Tensor] | None = None
    _joint: Callable[[], JointSpace | None] | None = None

    @property
    def features(self) -> Tensor:
        """Projected features, in the embedding space of the language model. [N, D]."""
        return self.hidden

    @property
    def vision(self) -> VisionSignals:
        """Signals of the vision tower; raises MissingSignal if the method did not announce what it reads there."""
        if self._vision is None:
            raise MissingSignal("a method that reads the vision tower names the signals in `reads`")
        return self._vision()

    @property
    def instruction(self) -> Tensor:
        """Input embeddings of the instruction tokens of the language model. [T, D]."""
        if self._instruction is None:
            raise MissingSignal("this view has no instruction tokens")
        return self._instruction()

    @property
    def joint(self) -> JointSpace | None:
        """Patches and question in CLIP's joint space; None where the vision tower is not CLIP's.

        Raises MissingSignal if the method did not announce the question in `reads`.
        """
        if self._joint is None:
            raise MissingSignal(
                "a method that reads the question's embedding sets `question` in its `reads`; this one did not"
            )
        return self._joint()


class Probe(Protocol):
    """What the runtime reads for a LayerView besides attention to the visual tokens; its methods say what it gives."""

    def within_instruction(self) -> Tensor:
        """[H, T, T]."""

    def keys(self, rotated: bool) -> Tensor:
        """[Hkv, N, d]."""

    def mean_query(self) -> Tensor:
        """[H, d]."""

    def rotary_decay(self, queries: Queries) -> Tensor:
        """[T, N]."""

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """[N0, D], [T, D]."""


@dataclass(frozen=True)
class LayerView(View):
    """The visual tokens between two decoder layers."""

    _attention: Callable[[Queries | Tensor], Tensor] | None = None
    _probe: Probe | None = None

    def attention(self, queries: Queries | Tensor = "instruction") -> Tensor:
        """Attention probabilities from some rows to the visual tokens, fp32. -> [H, T, N].

        The softmax runs over all keys the rows may see, then the visual columns are taken; only these rows are ever
        computed, from the layer's own projections, so the layer itself can run SDPA or FlashAttention.

        Args:
            queries: `"instruction"` (every token after the last visual one), `"last"` (the last token of the prompt),
                or row numbers within the sample, long [T].
        """
        if self._attention is None:
            raise MissingSignal(
                "this view has no attention: the method announces no `rows` in its `reads`"
            )
        return self._attention(queries)

    def attention_within_instruction(self) -> Tensor:
        """Attention probabilities of the instruction tokens among themselves, fp32 (same softmax). -> [H, T, T]."""
        return self._read().within_instruction()

    def keys(self, rotated: bool) -> Tensor:
        """Keys of the visual tokens in the layer that is read, fp32, with or without positions. -> [Hkv, N, d]."""
        return self._read().keys(rotated)

    def mean_query(self) -> Tensor:
        """Mean query, without positions, of everything up to the last visual token of the pool, fp32. -> [H, d]."""
        return self._read().mean_query()

    def rotary_decay(self, queries: Queries = "instruction") -> Tensor:
        """What the distance of a row and a visual token alone makes of a logit, fp32: 1 at no distance. -> [T, N].

        The logit of a query and a key that are all ones, divided by what it is without rotation.
        """
        return self._read().rotary_decay(queries)

    @property
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Rows that entered layer 0: all visual tokens of the pool then, and the instruction. [N0, D], [T, D]."""
        return self._read().embeddings()

    def _read(self) -> Probe:
        if self._probe is None:
            raise MissingSignal(
                "this view has nothing to read: the method announces no `rows` in its `reads`"
            )
        return self._probe


@dataclass(frozen=True)
class Transition:
    """How one module changes each token of one sample. TransPrune (arXiv 2507.20630), section 3.2.

    Attributes:
        magnitude: float32 [L], norm of the module's output over norm of its (normalised) input.
        cosine: float32 [L], cosine between the two.
        visual: bool [L].
    """

    magnitude: Tensor
    cosine: Tensor
    visual: Tensor


@dataclass(frozen=True)
class LayerTransitions:
    """The two modules of one decoder layer."""

    attention: Transition
    mlp: Transition


CHUNK = 128  # rows


def transition_of(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude and cosine of a module's change, fp32. before, after [B, L, D] -> two of [B, L]."""
    if before.device.type == "cpu" and before.dtype != torch.float32 and before.shape[1] > CHUNK:
        # fp32 copies of whole half-precision tensors miss the cache and cost more than the sums: 1.2 against 0.3 ms
        parts = [
            transition_of(*rows)
            for rows in zip(before.split(CHUNK, 1), after.split(CHUNK, 1), strict=True)
        ]
        magnitudes, cosines = zip(*parts, strict=True)
        return torch.cat(magnitudes, dim=1), torch.cat(cosines, dim=1)
    before, after = before.detach().float(), after.detach().float()
    size = torch.linalg.vector_norm
    norm_before, norm_after = size(before, dim=-1), size(after, dim=-1)
    cosine = torch.einsum("...d,...d->...", before, after) / (norm_before * norm_after).clamp_min(
        1e-8
    )
    return norm_after / norm_before.clamp_min(1e-6), cosine
