"""Compose: one method after another, the second with ratios of the tokens the first left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

from transprune.core.plan import Eviction, Reading, Stage
from transprune.errors import MethodError, ScheduleError
from transprune.methods.common.cache_pruner import CachePruner
from transprune.methods.common.method import Method, ProjectorPruner
from transprune.methods.common.recipe import register

# TransPrune's Tables 4 and 5, by name: "visionzip-288-fastv" and so on; VisionZip keeps its ratio
# of 27 to 5 at 288
BEHIND = {"fastv": "fastv", "pdrop": "pdrop", "transprune": "transprune-combined"}
TABLES = {
    f"{projector}-{tokens}-{name}": f"{projector}:keep={tokens}+{BEHIND[name]}"
    for projector, tokens, name in product(("visionzip", "cdpruner"), (288, 192), BEHIND)
}

# Better than High and Low on the bundled model, chosen on its validation scenes 0 to 149: different
# tokens first, each weighing as much as those it stands for, then the attention of the instruction
# at layer 9 of 16, behind the layers that read the question. In an earlier form TTV added nothing,
# and renumbering cost answers.
TUNED = {
    "transprune-nano": (
        "divprune:keep_ratio=0.56,proportional=true+transprune:keep=9:0.3,alpha=0,positions=keep"
    ),
}


@register("compose")
@dataclass(frozen=True)
class Compose(Method):
    """Run several methods in one pass: projector side first, then within the language model.

    The combinations of TransPrune's Tables 4 and 5 have names, as `"visionzip-288-transprune"`; so
    has `"transprune-nano"`, the best one on the validation scenes of the bundled model.

    Args:
        parts: methods in the order they act. The second counts its tokens from those the first
            left.

    Raises:
        MethodError: fewer than one part, something that is no method, or a composition inside a
            composition.
        ScheduleError: (when planned) a part that starts before the one in front of it has ended.
    """

    parts: Sequence[Method] = ()

    title: ClassVar[str] = "Compose: one method after another"
    paper: ClassVar[str] = "TransPrune, Tables 4 and 5"
    kind: ClassVar[str] = "composition"
    recipes: ClassVar[Mapping[str, str]] = {**TABLES, **TUNED}

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = _check_parts(self.parts)

        later = [step for part in parts for step in part.steps][1:]
        if any(isinstance(step, ProjectorPruner) for step in later):
            raise MethodError(
                "projector-side methods act before the language model, so one may only come first"
            )

        evicting = [
            step.name for part in parts for step in part.steps if isinstance(step, CachePruner)
        ]
        if len(evicting) > 1:
            raise MethodError(
                f"one method evicts keys from the cache, behind all others; got {len(evicting)}: "
                f"{', '.join(evicting)}"
            )

        if self.positions is not None:
            raise MethodError(
                "a composition has no positions of its own: set them on its parts, or in prune(...)"
            )

        # the record is frozen, and a list of parts becomes a tuple here
        object.__setattr__(self, "parts", parts)

    @property
    def steps(self) -> tuple[Method, ...]:
        """The parts, and where a part has steps of its own (VScan), those."""
        return tuple(step for part in self.parts for step in part.steps)

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """The stages of all parts, in order."""
        stages: list[Stage] = []
        for part in self.parts:
            remaining = stages[-1].count if stages else visual_tokens

            for stage in part.plan(num_layers, remaining):
                if stages and stage.boundary <= stages[-1].boundary:
                    raise ScheduleError(
                        f"{part.name} starts at boundary {stage.boundary}, but the method before "
                        f"it still acts at {stages[-1].boundary}: the parts of a composition "
                        "follow each other"
                    )
                stages.append(stage)

        return tuple(stages)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """The readings of all parts, in order."""
        return tuple(reading for part in self.parts for reading in part.reads_at(num_layers))

    def frozen(self, num_layers: int) -> tuple[int, ...]:
        """Layers that some part freezes."""
        layers: set[int] = set()
        for part in self.parts:
            layers.update(part.frozen(num_layers))

        return tuple(sorted(layers))

    def evicts(self, num_layers: int, visual: Sequence[int]) -> tuple[Eviction, ...]:
        """What the part that evicts keys leaves of the tokens that the others left."""
        return tuple(kept for part in self.parts for kept in part.evicts(num_layers, visual))

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """The notes of all parts."""
        return tuple(note for part in self.parts for note in part.notes(num_layers))

    def scaled_by(self, factor: float) -> Compose:
        """Below 1 only the first part is scaled, since the others follow it; above 1 all parts."""
        first, *behind = self.parts
        if factor > 1:
            behind = [part.scaled_by(factor) for part in behind]

        return replace(self, parts=(first.scaled_by(factor), *behind))

    def shifted_earlier(self, layers: int, num_layers: int) -> Compose:
        """With the parts of the language model so much earlier."""
        start = 1 if isinstance(self.parts[0], ProjectorPruner) else 0
        moved = [part.shifted_earlier(layers, num_layers) for part in self.parts[start:]]
        if not moved:
            raise ScheduleError(f"{self.name} cannot start earlier")

        return replace(self, parts=(*self.parts[:start], *moved))


def _check_parts(parts: Sequence[Method]) -> tuple[Method, ...]:
    """The parts as a tuple; a MethodError unless they are a flat list of methods."""
    if isinstance(parts, Method) or not isinstance(parts, Iterable):
        raise MethodError(f"a composition takes a list of methods; got {parts!r}")

    parts = tuple(parts)
    if not parts:
        raise MethodError(
            "a composition needs at least one method, as "
            "Compose([VisionZip(192), TransPrune.low()])"
        )

    for part in parts:
        if not isinstance(part, Method) or isinstance(part, Compose):
            raise MethodError(f"a composition is a flat list of methods; got {part!r}")

    return parts
