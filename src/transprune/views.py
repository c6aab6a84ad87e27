"""What a method may ask for, computed when it asks.

A view shows one pool of one sample: the visual tokens of that sample (or of one of its images), without padding and
without batch. A batch therefore equals its singles by construction, and a method never meets a mask. Heavy work that
is shared by the batch (the key projection of a layer) is done once by the runtime behind the view.

Shapes: N visual tokens in the pool, H heads, T query rows, D width of the language model, d width of the metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from transprune.errors import MissingSignal

Scores = dict[str, Tensor]
Queries = Literal["instruction", "last"]


@dataclass(frozen=True)
class Selection:
    """What a method decides about one pool.

    Attributes:
        keep: long [K], ascending positions within the candidates of the view.
        features: [K, D] rows that replace the kept ones (merging methods), or None to leave them as they are.
        scores: what the choice rests on, float [N] each; `"score"` is the one that ranked.
    """

    keep: Tensor
    features: Tensor | None = None
    scores: Scores = field(default_factory=dict)


@dataclass(frozen=True)
class VisionSignals:
    """What the vision tower tells about the visual tokens of one pool.

    Attributes:
        saliency: float32 [N], attention each patch receives: from the CLS token where the tower has one, else the mean
            over all patches of its image. NaN where a row has no patch (newline tokens of LLaVA-NeXT).
        keys: float32 [N, d], keys of that attention, mean over heads.
        crop: long [N], tower input (image or tile) a token came from, numbered from 0 in the order of the tokens; -1
            for none. A picture that is in the prompt twice is one input.
        cls: [crops, D], the projected CLS state of each tower input, or None.
        states: [N, V], what the projector made the tokens of, or None where it merges patches (Qwen2.5-VL).
        project: the projector, [n, V] -> [n, D]; goes with `states`.
    """

    saliency: Tensor
    keys: Tensor
    crop: Tensor
    cls: Tensor | None = None
    states: Tensor | None = None
    project: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class View:
    """What every view has.

    Attributes:
        boundary: 0-based decoder layer in front of which the choice is made.
        count: tokens to keep here, 1..N.
        candidates: long [N], original numbers of the visual tokens that are still there.
    """

    boundary: int
    count: int
    candidates: Tensor
    _hidden: Callable[[], Tensor]

    @property
    def hidden(self) -> Tensor:
        """The rows of the candidates as they enter the layer; at boundary 0 the projected features. [N, D]."""
        return self._hidden()


@dataclass(frozen=True)
class ProjectorView(View):
    """The visual tokens before the language model."""

    _vision: Callable[[], VisionSignals] | None = None

    @property
    def features(self) -> Tensor:
        """Projected features, in the embedding space of the language model. [N, D]."""
        return self.hidden

    @property
    def vision(self) -> VisionSignals:
        """Signals of the vision tower; raises MissingSignal if the method did not announce that it reads them."""
        if self._vision is None:
            raise MissingSignal("a method that reads the vision tower sets `reads_vision = True`; this one did not")
        return self._vision()


@dataclass(frozen=True)
class LayerView(View):
    """The visual tokens between two decoder layers."""

    _attention: Callable[[Queries | Tensor], Tensor] | None = None

    def attention(self, queries: Queries | Tensor = "instruction") -> Tensor:
        """Attention probabilities from some rows to the visual tokens, fp32. -> [H, T, N].

        The softmax runs over all keys the rows may see, then the visual columns are taken; only these rows are ever
        computed, from the layer's own projections, so the layer itself can run SDPA or FlashAttention.

        Args:
            queries: `"instruction"` (every token after the last visual one), `"last"` (the last token of the prompt),
                or row numbers within the sample, long [T].
        """
        if self._attention is None:
            raise MissingSignal("this view has no attention: the method announces no `rows` in its readings")
        return self._attention(queries)


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
        parts = [transition_of(*rows) for rows in zip(before.split(CHUNK, 1), after.split(CHUNK, 1), strict=True)]
        magnitudes, cosines = zip(*parts, strict=True)
        return torch.cat(magnitudes, dim=1), torch.cat(cosines, dim=1)
    before, after = before.detach().float(), after.detach().float()
    size = torch.linalg.vector_norm
    norm_before, norm_after = size(before, dim=-1), size(after, dim=-1)
    cosine = torch.einsum("...d,...d->...", before, after) / (norm_before * norm_after).clamp_min(1e-8)
    return norm_after / norm_before.clamp_min(1e-6), cosine
