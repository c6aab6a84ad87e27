"""The two bases of methods, which carry the shared work once; a subclass writes only its maths.

A `ProjectorPruner` chooses among the projected features before the language model; a `LayerPruner`
gives a schedule and a score between decoder layers.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from transprune.algebra.select import select_top
from transprune.core.plan import Reading, Stage
from transprune.core.schedule import Schedule, count_kept
from transprune.core.views import LayerView, ProjectorView, Scores, Selection
from transprune.errors import ScheduleError
from transprune.methods.common.base import POSITIONS as POSITIONS
from transprune.methods.common.base import Fidelity as Fidelity
from transprune.methods.common.base import Method as Method
from transprune.methods.common.base import Positions as Positions
from transprune.methods.common.checks import check_flag as check_flag
from transprune.methods.common.checks import check_keep as check_keep
from transprune.methods.common.checks import check_ratio as check_ratio
from transprune.methods.common.checks import resolve_count as resolve_count

# methods of a LayerPruner whose tensors have a leading dimension where it is `batched`
TAKES_POOLS = {"score", "select", "observe", "observe_layers", "transition_scores"}

L = TypeVar("L", bound="LayerPruner")


@dataclass(frozen=True)
class ProjectorPruner(Method):
    """A method that acts once, before the language model (boundary 0)."""

    kind: ClassVar[str] = "projector-side"

    @abstractmethod
    def count(self, visual_tokens: int) -> int:
        """How many of `visual_tokens` stay, 1..visual_tokens."""

    @abstractmethod
    def select(self, view: ProjectorView) -> Selection:
        """Choose `view.count` of the projected features of one pool."""

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """One stage at boundary 0."""
        count = self.count(visual_tokens)
        kept = min(visual_tokens, max(1, count))
        return (Stage(0, kept, rounded_up=count < 1),)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Nothing of the language model."""
        return (Reading(0),)


@dataclass(frozen=True)
class LayerPruner(Method):
    """A method that ranks the visual tokens at boundaries inside the language model.

    Attributes:
        first_boundary: the first layer in front of which it may prune.
        batched: `score`, `select` and `observe` take several pools at once. Every tensor of the
            view and the evidence has a leading dimension, [G, N] for [N], and so has what is
            returned. Pools of equal size are then scored in one call; otherwise one by one. A
            subclass that overrides one of the three says again that it does.
    """

    kind: ClassVar[str] = "within-LLM"
    first_boundary: ClassVar[int] = 1
    batched: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = vars(cls)
        # what was written for one pool must not meet several because its parent takes them
        if "batched" not in own and own.keys() & TAKES_POOLS:
            cls.batched = False

    @abstractmethod
    def schedule(self, num_layers: int) -> Schedule:
        """Boundaries and keep ratios for a model of `num_layers`, not yet checked against it."""

    @abstractmethod
    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Scores of the candidates, float [N]; `"score"` ranks, larger means keep.

        Args:
            view: the candidates, and what the method announced that it reads.
            carry: evidence that `observe` gathered, float32 [N]; None where nothing is observed.
        """

    def observed(self, num_layers: int) -> tuple[int, ...]:
        """1-based layers whose transitions `observe` takes."""
        return ()

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """One stage per boundary.

        Each keeps `int(N * ratio)` of the tokens there were before this method, at least one.
        """
        schedule = self.schedule(num_layers).check(num_layers, self.first_boundary)
        stages = []

        for boundary, ratio in schedule:
            count = count_kept(visual_tokens, ratio)
            # a pool never loses its last token
            stages.append(Stage(boundary, max(1, count), rounded_up=count < 1))

        return tuple(stages)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """The same rows at every boundary, and the layers observed since the one before."""
        observed = self.observed(num_layers)
        readings = []
        previous = 0

        for boundary in self.schedule(num_layers).boundaries:
            # each layer is observed for the first boundary behind it
            since = tuple(layer for layer in observed if previous < layer <= boundary)
            readings.append(
                Reading(
                    boundary,
                    rows=self.reads.rows,
                    source=self.reads.source,
                    observed=since,
                    embeddings=self.reads.embeddings,
                    inside=self.reads.inside,
                )
            )

            previous = boundary

        return tuple(readings)

    def shifted_earlier(self: L, layers: int, num_layers: int) -> L:
        """With its setting `layer` so much smaller; methods with other boundaries override this."""
        layer = getattr(self, "layer", None)
        if not isinstance(layer, int) or layer - layers < self.first_boundary:
            raise ScheduleError(f"{self.name} cannot start {layers} layers earlier")

        changes: dict[str, Any] = {"layer": layer - layers}
        return replace(self, **changes)

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """The `view.count` best-scored candidates; ties to the lower index.

        `carry` is the evidence that `observe` gathered, float32 [N], or None.
        """
        scores = self.score(view, carry)
        return Selection(select_top(scores["score"], view.count), scores=scores)


Pruner = ProjectorPruner | LayerPruner
