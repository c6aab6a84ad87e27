"""What a method reads of one pool of visual tokens, computed when it is read.

A view shows one pool of one sample: the visual tokens of that sample (or of one of its images),
without padding and without batch. A batch therefore equals its singles by construction, and a
method never meets a mask. Heavy work that the batch shares (the key projection of a layer) is done
once by the runtime.

Shapes: N visual tokens in the pool, H heads, T query rows, D width of the language model, d head
width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor

from transprune.core.signals import JointSpace as JointSpace
from transprune.core.signals import Tile as Tile
from transprune.core.signals import VisionSignals as VisionSignals
from transprune.core.transitions import LayerTransitions as LayerTransitions
from transprune.core.transitions import Transition as Transition
from transprune.core.transitions import Transitions as Transitions
from transprune.core.transitions import transition_of as transition_of
from transprune.errors import MissingSignal

Scores = dict[str, Tensor]
Queries = Literal["instruction", "last"]

# signal -> how a method announces it; a signal of another package is announced by its name
ANNOUNCED = {
    "vision": "names of the vision tower's signals in `vision` of its `reads`",
    "joint": "the question by `question` in its `reads`",
    "attention": "attention by `rows` in its `reads`",
    "embeddings": "what entered layer 0 by `embeddings` in its `reads`",
}


@dataclass(frozen=True)
class Selection:
    """What a method chooses of one pool.

    Attributes:
        keep: long [K], ascending positions within the candidates of the view.
        features: [K, D] rows that replace the kept ones (merging methods), or None to leave them as
            they are.
        scores: the evidence of the choice, float [N] each; `"score"` is the one that ranked.
        order: long [K], a method's own order of the rows: row k becomes that of `keep[order[k]]`.
            None, and wherever positions are not renumbered: the order of the prompt.
        key_bias: float32 [K], added to the logits of the kept tokens as keys in every layer from
            here on, also while decoding: the logarithm of a size is proportional attention. None
            where all keys count alike.
    """

    keep: Tensor
    features: Tensor | None = None
    scores: Scores = field(default_factory=dict)
    key_bias: Tensor | None = None
    order: Tensor | None = None


@dataclass(frozen=True)
class View:
    """What every view has.

    Attributes:
        boundary: 0-based decoder layer in front of which the choice is made.
        count: tokens to keep here, 1..N.
        candidates: long [N], original numbers of the visual tokens that are still there.
        merged: how many of `count` the plan of the method sets aside for tokens made of dropped
            ones.
        signals: what the runtime offers at this boundary, by name; computed when called.
        total: visual tokens of the unpruned sample, on the host; None in views made by hand.
        span: number of the first token of this pool before any was dropped, and how many it had
            then; None in views of several pools and those made by hand, and for a picture between
            whose tokens another one stands.
    """

    boundary: int
    count: int
    candidates: Tensor
    _hidden: Callable[[], Tensor]
    merged: int = field(default=0, kw_only=True)
    signals: Mapping[str, Callable[[], Any]] = field(default_factory=dict, kw_only=True)
    total: int | None = field(default=None, kw_only=True)
    span: tuple[int, int] | None = field(default=None, kw_only=True)

    @property
    def numbers(self) -> int:
        """A number above all `candidates`, to size a table by without asking the device."""
        return int(self.candidates.max()) + 1 if self.total is None else self.total

    @property
    def hidden(self) -> Tensor:
        """Rows of the candidates as they enter the layer; features at boundary 0. [N, D]."""
        return self._hidden()

    @property
    def vision(self) -> VisionSignals:
        """Signals of the vision tower; raises MissingSignal if the method did not announce them."""
        signals: VisionSignals = self.read("vision")
        return signals

    def read(self, name: str) -> Any:
        """The signal of that name.

        Raises:
            MissingSignal: the method did not announce it.
        """
        if name not in self.signals:
            how = ANNOUNCED.get(name, f"{name!r} in `signals` of its `reads`")
            raise MissingSignal(f"this view has no {name}: a method announces {how}")
        return self.signals[name]()


@dataclass(frozen=True)
class ProjectorView(View):
    """The visual tokens before the language model."""

    _instruction: Callable[[], Tensor] | None = field(default=None, kw_only=True)

    @property
    def features(self) -> Tensor:
        """Projected features, in the embedding space of the language model. [N, D]."""
        return self.hidden

    @property
    def instruction(self) -> Tensor:
        """Input embeddings of the instruction tokens of the language model. [T, D].

        Raises:
            MissingSignal: a view made by hand without them.
        """
        if self._instruction is None:
            raise MissingSignal("this view has no instruction tokens")
        return self._instruction()

    @property
    def joint(self) -> JointSpace | None:
        """Patches and question in CLIP's joint space; None where the vision tower is not CLIP's.

        Raises MissingSignal if the method did not announce the question.
        """
        space: JointSpace | None = self.read("joint")
        return space


class LayerAttention(Protocol):
    """The signal `"attention"`: one layer's queries and keys, for one pool.

    For several pools at once, of which all results get a leading dimension, it has `to_visual` and
    `mean_to_visual` only.
    """

    def to_visual(self, queries: Queries | Tensor) -> Tensor:
        """Probabilities from query rows to the visual tokens. [H, T, N]."""

    def mean_to_visual(self, queries: Queries | Tensor) -> Tensor:
        """Their mean over heads and query rows. [N]."""

    def within_instruction(self) -> Tensor:
        """Probabilities from instruction to instruction. [H, T, T]."""

    def keys(self, rotated: bool) -> Tensor:
        """Keys of the visual tokens. [Hkv, N, d]."""

    def context_keys(self) -> Tensor:
        """Keys of the other rows of the mean query. [Hkv, M, d]."""

    def mean_query(self) -> Tensor:
        """Mean query. [H, d]."""

    def received(self) -> tuple[Tensor, Tensor]:
        """Attention that each token receives. [N], [N]."""

    def rotary_decay(self, queries: Queries) -> Tensor:
        """Effect of distance on a logit. [T, N]."""


@dataclass(frozen=True)
class LayerView(View):
    """The visual tokens between two decoder layers."""

    def attention(self, queries: Queries | Tensor = "instruction") -> Tensor:
        """Attention probabilities from some rows to the visual tokens, fp32. -> [H, T, N].

        The softmax runs over all keys the rows may attend to, then the visual columns are taken.
        Only these rows are ever computed, from the layer's own projections, so the layer itself can
        run SDPA or FlashAttention.

        Args:
            queries: `"instruction"` (every token after the last visual one), `"last"` (the last
                token of the prompt), or row numbers within the sample, long [T].
        """
        return self._layer().to_visual(queries)

    def mean_attention(self, queries: Queries | Tensor = "instruction") -> Tensor:
        """The mean of `attention` over heads and query rows, fp32. -> [N].

        For several pools at once each is averaged over its own query rows. -> [G, N].
        """
        mean = getattr(self._layer(), "mean_to_visual", None)
        if mean is None:  # attention made by hand
            return self.attention(queries).mean(dim=(-3, -2))
        received: Tensor = mean(queries)
        return received

    def attention_within_instruction(self) -> Tensor:
        """Attention among the instruction tokens, fp32, by the same softmax. -> [H, T, T]."""
        return self._layer().within_instruction()

    def keys(self, rotated: bool) -> Tensor:
        """Keys of the visual tokens in the layer that is read, fp32. -> [Hkv, N, d].

        `rotated` with their positions, else without.
        """
        return self._layer().keys(rotated)

    def context_keys(self) -> Tensor:
        """Keys of all other rows up to the pool's last token, fp32, not rotated. -> [Hkv, M, d].

        They belong to the text in front of the image, its first token included, and to other pools,
        but to no earlier turn. With the pool's own rows they are the rows of `mean_query`.
        """
        context = getattr(self._layer(), "context_keys", None)
        if context is None:
            # attention made by hand for a pool alone: there are no other rows
            return self.keys(rotated=False)[:, :0]

        keys: Tensor = context()
        return keys

    def mean_query(self) -> Tensor:
        """Mean query of all rows up to the pool's last token, fp32, not rotated. -> [H, d]."""
        return self._layer().mean_query()

    def received(self) -> tuple[Tensor, Tensor]:
        """What each token receives from the tokens of its pool, and from the instruction, fp32.

        Of each row the largest probability of all heads; the mean over the rows of the pool, and the
        sum over those of the instruction. A method that reads it announces `rows="all"`. -> [N], [N].
        """
        return self._layer().received()

    def rotary_decay(self, queries: Queries = "instruction") -> Tensor:
        """The effect of distance alone on a logit, fp32: 1 at no distance. -> [T, N].

        The logit of a query and a key that are all ones, divided by its value without rotation.
        """
        return self._layer().rotary_decay(queries)

    @property
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Rows of the pool's images and of the instruction at layer 0. [N0, D], [T, D]."""
        rows: tuple[Tensor, Tensor] = self.read("embeddings")
        return rows

    def _layer(self) -> LayerAttention:
        attention: LayerAttention = self.read("attention")
        return attention
