"""What every method is: a frozen dataclass that says what to keep, and knows no model.

Two bases carry the shared work, once. A `ProjectorPruner` chooses among the projected features before the language
model; a `LayerPruner` gives a schedule and a score between decoder layers. A subclass writes only its maths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar

from torch import Tensor

from transprune.algebra.select import select_top
from transprune.core.plan import Reading, Rows, Stage
from transprune.core.schedule import Schedule, ScheduleLike, count_kept
from transprune.core.views import LayerTransitions, LayerView, ProjectorView, Scores, Selection
from transprune.errors import MethodError, ScheduleError
from transprune.methods.common.recipe import Recipe

Positions = Literal["keep", "renumber"]
POSITIONS = ("keep", "renumber")

M = TypeVar("M", bound="Method")
L = TypeVar("L", bound="LayerPruner")


@dataclass(frozen=True)
class Method(Recipe, ABC):
    """Base of all methods.

    Args:
        positions: position ids of the survivors, `"keep"` (their original ones) or `"renumber"` (contiguous); None
            takes the policy of the method's own code (`default_positions`).
    """

    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    deviates: ClassVar[str] = ""
    default_positions: ClassVar[Positions] = "keep"
    amounts: ClassVar[tuple[str, ...]] = ("keep", "keep_ratio")
    reads_vision: ClassVar[tuple[str, ...]] = ()  # of `transprune.core.signals`

    positions: Positions | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.positions is not None and self.positions not in POSITIONS:
            raise MethodError(f"positions is 'keep', 'renumber' or None; got {self.positions!r}")

    @property
    def steps(self) -> tuple[Method, ...]:
        """The methods this one runs, in order: itself, or the parts of a composition."""
        return (self,)

    @property
    def reads_question(self) -> bool:
        """Does it want the question in CLIP's joint space (`ProjectorView.joint`), where the model has one?"""
        return False

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
    def readings(self, num_layers: int) -> tuple[Reading, ...]:
        """What is read at each boundary, for the runtime's taps and the cost model."""

    @abstractmethod
    def select(self, view: Any, carry: Tensor | None) -> Selection:
        """Choose `view.count` of the candidates of one pool; `carry` is what `observe` gathered, per visual token."""

    def frozen(self, num_layers: int) -> tuple[int, ...]:
        """0-based decoder layers in which visual tokens keep their state and only give keys and values."""
        return ()

    def observe(self, layer: int, step: LayerTransitions, carry: Tensor) -> Tensor:
        """Evidence after 1-based decoder layer `layer`: what was carried so far [L] in, the new carry [L] out."""
        return carry

    def variations(self, step: LayerTransitions) -> dict[str, Tensor]:
        """What this method makes of one layer's transitions, by module (`"attention"`, `"mlp"`), float32 [L] each."""
        return {}

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """Sentences for the trace: what was adapted to this model."""
        return ()

    def scaled(self: M, factor: float) -> M:
        """The same method with `factor` times as much kept, for comparing methods at equal cost.

        The settings named in `amounts` are multiplied: counts, shares and schedules alike. Order and shape stay; at
        least one token and at most all of them remain. A method that says otherwise how much stays overrides this.

        Raises:
            MethodError: the method has no such setting, or the factor is not positive.
        """
        names = [name for name in self.amounts if hasattr(self, name)]
        if not names or not factor > 0:
            raise MethodError(
                f"{self.name} cannot keep {factor!r} times as much: a method names the settings that say how much "
                f"stays in `amounts` (it has none of {', '.join(self.amounts)}), and the factor is positive"
            )
        return replace(self, **{name: scale_amount(getattr(self, name), factor) for name in names})

    def earlier(self: M, layers: int, num_layers: int) -> M:
        """The same method with every boundary `layers` earlier on a model of `num_layers`, for budgets it cannot reach.

        Raises:
            ScheduleError: it cannot start that early.
        """
        raise ScheduleError(f"{self.name} cannot start earlier")


@dataclass(frozen=True)
class ProjectorPruner(Method):
    """A method that acts once, before the language model (boundary 0)."""

    kind: ClassVar[str] = "projector-side"

    @abstractmethod
    def count(self, visual_tokens: int) -> int:
        """How many of `visual_tokens` stay, 1..visual_tokens."""

    @abstractmethod
    def select(self, view: ProjectorView, carry: Tensor | None = None) -> Selection:
        """Choose `view.count` of the projected features of one pool."""

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """One stage at boundary 0."""
        count = self.count(visual_tokens)
        return (Stage(0, min(visual_tokens, max(1, count)), rounded_up=count < 1),)

    def readings(self, num_layers: int) -> tuple[Reading, ...]:
        """Nothing of the language model."""
        return (Reading(0),)


@dataclass(frozen=True)
class LayerPruner(Method):
    """A method that ranks the visual tokens at boundaries inside the language model."""

    kind: ClassVar[str] = "within-LLM"
    first_boundary: ClassVar[int] = 1
    rows: ClassVar[Rows | None] = None
    source: ClassVar[Literal["next", "previous"]] = "next"

    @abstractmethod
    def schedule(self, num_layers: int) -> Schedule:
        """Boundaries and keep ratios for a model of `num_layers`, not yet checked against it."""

    @abstractmethod
    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Scores of the candidates, float [N]; the one called `"score"` ranks, larger means keep."""

    def observed(self, num_layers: int) -> tuple[int, ...]:
        """1-based layers whose transitions `observe` wants."""
        return ()

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """One stage per boundary: `int(N * ratio)` of the tokens there were before this method, at least one."""
        schedule = self.schedule(num_layers).check(num_layers, self.first_boundary)
        counts = [(boundary, count_kept(visual_tokens, ratio)) for boundary, ratio in schedule]
        return tuple(
            Stage(boundary, max(1, count), rounded_up=count < 1) for boundary, count in counts
        )

    def readings(self, num_layers: int) -> tuple[Reading, ...]:
        """The same rows at every boundary, and the layers observed since the one before."""
        readings, previous = [], 0
        for boundary in self.schedule(num_layers).boundaries:
            seen = tuple(
                layer for layer in self.observed(num_layers) if previous < layer <= boundary
            )
            readings.append(Reading(boundary, rows=self.rows, source=self.source, observed=seen))
            previous = boundary
        return tuple(readings)

    def earlier(self: L, layers: int, num_layers: int) -> L:
        """With its setting `layer` so much smaller; a method with other boundaries overrides this."""
        layer = getattr(self, "layer", None)
        if not isinstance(layer, int) or layer - layers < self.first_boundary:
            raise ScheduleError(f"{self.name} cannot start {layers} layers earlier")
        changes: dict[str, Any] = {"layer": layer - layers}
        return replace(self, **changes)

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """The `view.count` best-scored candidates; ties to the lower index."""
        scores = self.score(view, carry)
        return Selection(select_top(scores["score"], view.count), scores=scores)


def scale_amount(amount: ScheduleLike | float, factor: float) -> Any:
    """`factor` times a count (int, at least 1), a share (float, at most 1) or every share of a schedule."""
    if isinstance(amount, int):
        return max(1, round(amount * factor))
    if isinstance(amount, float):
        return min(1.0, amount * factor)
    schedule = Schedule.of(amount)
    shares = [(boundary, min(1.0, share * factor)) for boundary, share in schedule]
    return Schedule(shares, depth=schedule.depth)


def resolve_count(keep: int | float, total: int) -> int:
    """An absolute count (int) or a share of `total` (float in (0, 1]) as a count, at most `total`."""
    return min(total, count_kept(total, keep) if isinstance(keep, float) else keep)


def check_ratio(name: str, value: float) -> None:
    """Raise ScheduleError unless `value` is a number in (0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ScheduleError(
            f"{name} is the share of visual tokens that stays and must lie in (0, 1]; got {value!r}"
        )


def check_flag(name: str, value: bool) -> None:
    """Raise MethodError unless `value` is a bool: the text "no" would count as yes."""
    if not isinstance(value, bool):
        raise MethodError(f"{name} is True or False; got {value!r}")


def check_keep(name: str, value: int | float) -> None:
    """Raise ScheduleError unless `value` is a positive count (int) or a share in (0, 1] (float)."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ScheduleError(f"{name} as a count must be at least 1; got {value}")
    else:
        check_ratio(name, value)
