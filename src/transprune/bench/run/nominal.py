"""The prompt that budgets are counted for."""

from __future__ import annotations

from dataclasses import dataclass

from transprune.core.plan import Eviction, per_layer
from transprune.cost.count import Convention, Cost, count_method
from transprune.cost.geometry import Geometry
from transprune.methods.common.method import Method


@dataclass(frozen=True)
class NominalPrompt:
    """The prompt that budgets are counted for, medians of the questions, and the language model."""

    geometry: Geometry
    visual_tokens: int
    text_tokens: int
    instruction_tokens: int

    def cost(self, method: Method, convention: Convention = "exact") -> Cost:
        """The cost of a method on this prompt."""
        return count_method(
            self.geometry,
            method,
            self.visual_tokens,
            self.text_tokens,
            convention,
            instruction=self.instruction_tokens,
        )

    def share(self, method: Method) -> float:
        """The method's `exact` prefill relative to unpruned."""
        return self.cost(method).prefill_share

    def tokens(self, method: Method) -> tuple[int, ...]:
        """Visual tokens planned to enter each layer."""
        layers = self.geometry.layers
        stages = tuple(method.plan(layers, self.visual_tokens))
        return per_layer(layers, self.visual_tokens, stages)

    def evictions(self, method: Method) -> tuple[Eviction, ...]:
        """What the caches of some layers keep of the visual tokens that enter them."""
        return tuple(method.evicts(self.geometry.layers, self.tokens(method)))

    def boundaries(self, method: Method) -> tuple[int, ...]:
        """Boundaries at which the method prunes."""
        stages = method.plan(self.geometry.layers, self.visual_tokens)
        return tuple(stage.boundary for stage in stages)
