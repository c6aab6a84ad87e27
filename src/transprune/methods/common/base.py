"""What every method is: a frozen dataclass that chooses tokens and knows no model.

Its settings are the paper's. What the runtime and the cost model have to know of it beforehand, it
announces: the stages (`plan`), what is read at each (`reads_at`), and which layers are observed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor

from transprune.core.plan import Eviction, Reading, Stage
from transprune.core.signals import Reads
from transprune.core.transitions import LayerTransitions, Transitions
from transprune.errors import MethodError
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
