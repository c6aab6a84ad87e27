"""The base classes of methods: frozen dataclasses that choose tokens and know no model.

Two bases carry the shared work, once. A `ProjectorPruner` chooses among the projected features
before the language model; a `LayerPruner` gives a schedule and a score between decoder layers. A
subclass writes only its maths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar

from torch import Tensor

from transprune.algebra.select import select_top
from transprune.core.plan import Eviction, Reading, Stage
from transprune.core.schedule import Schedule, count_kept
from transprune.core.signals import Reads
from transprune.core.transitions import LayerTransitions, Transitions
from transprune.core.views import LayerView, ProjectorView, Scores, Selection
from transprune.errors import MethodError, ScheduleError
from transprune.methods.common.checks import check_flag as check_flag
from transprune.methods.common.checks import check_keep as check_keep
from transprune.methods.common.checks import check_ratio as check_ratio
from transprune.methods.common.checks import resolve_count as resolve_count
from transprune.methods.common.recipe import Recipe
from transprune.methods.common.scalable import Scalable

Positions = Literal["keep", "renumber"]
POSITIONS = ("keep", "renumber")

# how close a method is to what its authors define
Fidelity = Literal["", "exact", "reconstructed", "trained", "control"]

# name in 0.1.0 -> name now; a subclass that still defines the old one would be ignored in silence
RENAMED = {
    "amounts": "budget_fields",
    "deviates": "differs_from_code",
    "earlier": "shifted_earlier",
    "readings": "reads_at",
    "reads_question": "reads",
    "reads_vision": "reads",
    "rows": "reads",
    "scaled": "scaled_by",
    "source": "reads",
    "variations": "transition_scores",
}

# methods of a LayerPruner whose tensors have a leading dimension where it is `batched`
TAKES_POOLS = {"score", "select", "observe", "observe_layers", "transition_scores"}

L = TypeVar("L", bound="LayerPruner")


@dataclass(frozen=True)
class Method(Recipe, Scalable, ABC):
    """Base of all methods.

    Args:
        positions: position ids of the survivors, `"keep"` (their original ones) or `"renumber"`
            (contiguous); None takes the policy of the method's own code (`default_positions`).

    Attributes:
        title: name and idea in one line, for tables.
        paper: authors, venue and arXiv number; `"control"` for a rule that nobody proposes.
        kind: `"projector-side"`, `"within-LLM"`, `"hybrid"`, `"cache"` or `"composition"`.
        fidelity: `"exact"` (as the paper or its code defines it), `"reconstructed"` (parts of the
            definition were not at hand and were filled in), `"trained"` (needs trained weights),
            `"control"` (nobody's method); empty where nothing is claimed.
        reconstructed: what was filled in, and from what; empty unless it is reconstructed.
        differs_from_code: where this implementation differs from the released code; empty if
            nowhere.
        default_positions: what the released code does with position ids.
        reads: everything the method reads of a model besides the candidates' hidden states.

    Raises:
        MethodError: positions of another name, or a subclass that uses names of 0.1.
    """

    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    fidelity: ClassVar[Fidelity] = ""
    reconstructed: ClassVar[str] = ""
    differs_from_code: ClassVar[str] = ""
    default_positions: ClassVar[Positions] = "keep"
    reads: ClassVar[Reads] = Reads()

    positions: Positions | None = field(default=None, kw_only=True)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        annotations = vars(cls).get("__annotations__", {})
        settings = {name for name, kind in annotations.items() if "ClassVar" not in str(kind)}
        old = sorted((RENAMED.keys() & vars(cls).keys()) - settings)
        if old:
            changes = ", ".join(f"{name} is now {RENAMED[name]}" for name in old)
            raise MethodError(f"{cls.__name__} uses names of transprune 0.1: {changes}")

    def __post_init__(self) -> None:
        if self.positions is not None and self.positions not in POSITIONS:
            raise MethodError(f"positions is 'keep', 'renumber' or None; got {self.positions!r}")

    @property
    def steps(self) -> tuple[Method, ...]:
        """The methods this one runs, in order: itself, or the parts of a composition."""
        return (self,)

    @property
    def policy(self) -> Positions:
        """The position policy in force."""
        return self.positions or self.default_positions

    @abstractmethod
    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """The stages for a pool of `visual_tokens` on `num_layers` decoder layers.

        Raises:
            ScheduleError: the boundaries do not fit the depth.
        """

    @abstractmethod
    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """The readings at each boundary, for the runtime's taps and the cost model."""

    def frozen(self, num_layers: int) -> tuple[int, ...]:
        """0-based decoder layers in which visual tokens only give keys and values.

        They keep their hidden state there.
        """
        return ()

    def evicts(self, num_layers: int, visual: Sequence[int]) -> tuple[Eviction, ...]:
        """What the cache of some layers keeps.

        Only methods that evict keys behind the prefill return any (`CachePruner`).

        Args:
            num_layers: decoder layers of the model.
            visual: visual tokens that enter each layer.
        """
        return ()

    def observe(self, layer: int, step: LayerTransitions, carry: Tensor) -> Tensor:
        """Add what one decoder layer shows to the evidence gathered so far.

        Args:
            layer: 1-based decoder layer that has just run.
            step: how its two modules changed each token.
            carry: evidence before it, float32 [L].

        Returns:
            Evidence after it, float32 [L].
        """
        return carry

    def observe_layers(self, transitions: Transitions, carry: Tensor) -> Tensor:
        """Add what several layers show, by `observe` one after the other.

        A method whose maths takes all of them at once overrides this.

        Args:
            transitions: the observed layers since the last boundary.
            carry: evidence before them, float32 [L] (or [B, L] of a method with `batched`).

        Returns:
            Evidence after them.
        """
        for number, layer in enumerate(transitions.layers):
            carry = self.observe(layer, transitions.of(number), carry)
        return carry

    def transition_scores(self, step: LayerTransitions) -> dict[str, Tensor]:
        """Score of each token's change in one layer, by module, float32 [L] each.

        The modules are `"attention"` and `"mlp"`.
        """
        return {}

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """Sentences for the trace: what was adapted to this model."""
        return ()


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
