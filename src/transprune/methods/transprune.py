"""TransPrune: token transition variation (TTV) and instruction-guided attention (IGA).

Every ablation of the paper is one argument. Where the paper and the released code differ, the paper
is the default and the code is a named option: the paper's direction term is `1 - |cos|`, the code
computes `1 - cos` (27 MME points lower in the paper's own table). Both criteria are divided by
their sum before they are added, as the code does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from transprune.algebra.select import normalise_sum
from transprune.core.plan import Reading
from transprune.core.published import COMBINED, HIGH, LOW
from transprune.core.schedule import Schedule, ScheduleLike
from transprune.core.signals import Reads
from transprune.core.transitions import LayerTransitions, Transition, Transitions
from transprune.core.views import LayerView, Scores
from transprune.errors import MethodError, ScheduleError
from transprune.methods.common.checks import check_choice, check_flag, check_share
from transprune.methods.common.layers import Layers, list_layers, move_layers, read_layers
from transprune.methods.common.method import Fidelity, Positions
from transprune.methods.common.recipe import register
from transprune.methods.common.scheduled import ScheduledPruner

Direction = Literal["one_minus_abs_cos", "one_minus_cos", "cos", "abs_cos"]
DIRECTIONS = {
    "one_minus_abs_cos": lambda cos: 1 - cos.abs(),
    "one_minus_cos": lambda cos: 1 - cos,
    "cos": lambda cos: cos,
    "abs_cos": lambda cos: cos.abs(),
}

# found by `transprune tune` on the second test bed, which has 30 layers (docs/smol.md)
SMOL = Schedule({2: 0.6667, 7: 0.3334, 17: 0.3167}, depth=30)


@register("transprune")
@dataclass(frozen=True)
class TransPrune(ScheduledPruner):
    """Prune progressively by how much each token changes and how much attention it receives.

    Li et al., CVPR 2026. https://arxiv.org/abs/2507.20630

    The first is token transition variation (TTV), the second instruction-guided attention (IGA).

    Args:
        keep: boundary -> share of the original visual tokens kept from there on. Boundaries are the
            paper's 1-based pruning layers. The presets are written for 32 layers (`smol`: 30) and
            scale with depth; a mapping of your own is used as it stands. Default: High (supplement, section
            B).
        accumulate: 1-based layers whose TTV is summed, numbered and scaled like `keep`. Default:
            from the first to the last boundary, the paper's 7..12.
        alpha: weight of TTV; IGA has `1 - alpha`. At 0 or 1 the other criterion is not computed at
            all. Default 0.5.
        direction: the direction term, on the cosine between a module's input and output. Default:
            the paper's.
        use_magnitude: multiply by the ratio of norms (equation 1).
        use_direction: multiply by the softmax of the direction term (equation 2).
        softmax_over: tokens that share the softmax of the direction term: `"all"` of the sample
            (paper and code), or `"visual"`.
        accumulation: sum over `accumulate`; False takes the boundary's own layer only.
        positions: default `"renumber"`, as the released code does; under M-RoPE always `"keep"`.

    Raises:
        MethodError: alpha outside [0, 1], an unknown direction or softmax scope, or TTV with
            neither term.
        ScheduleError: ratios or layers that make no schedule.
    """

    keep: ScheduleLike = HIGH
    accumulate: Iterable[int] | None = None
    alpha: float = 0.5
    direction: Direction = "one_minus_abs_cos"
    use_magnitude: bool = True
    use_direction: bool = True
    softmax_over: Literal["all", "visual"] = "all"
    accumulation: bool = True

    title: ClassVar[str] = "TransPrune: token transitions and instruction attention"
    paper: ClassVar[str] = "Li et al., CVPR 2026, arXiv 2507.20630"
    fidelity: ClassVar[Fidelity] = "exact"
    presets: ClassVar[tuple[str, ...]] = ("high", "low", "ttv", "iga", "combined", "smol")
    default_positions: ClassVar[Positions] = "renumber"
    # Qwen2.5-VL-7B's 45.1 % comes from 7, 9, 12 of its 28 layers
    published_depths: ClassVar[tuple[int, ...]] = (28, 32)
    reads: ClassVar[Reads] = Reads(rows="instruction")
    batched: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        boundaries = Schedule.of(self.keep).boundaries
        if self.accumulate is None:
            # empty where the only boundary is 0, which `plan` refuses
            layers: Layers = range(max(1, boundaries[0]), boundaries[-1] + 1)
        else:
            layers = read_layers("accumulate", self.accumulate)

        object.__setattr__(self, "accumulate", layers)

        check_share("alpha", self.alpha, "weighs TTV against IGA")
        check_choice("direction", self.direction, DIRECTIONS)
        check_choice("softmax_over", self.softmax_over, ("all", "visual"))
        check_flag("use_magnitude", self.use_magnitude)
        check_flag("use_direction", self.use_direction)
        check_flag("accumulation", self.accumulation)

        if self.alpha > 0 and not (self.use_magnitude or self.use_direction):
            raise MethodError(
                "TTV needs its magnitude or its direction term; both are off. Use alpha=0 for IGA "
                "alone."
            )

        first = min(layers, default=0)
        if self.alpha == 1 and self.accumulation and first > boundaries[0]:
            raise ScheduleError(
                f"TTV alone has nothing to rank by at boundary {boundaries[0]}: accumulate starts "
                f"at layer {first}"
            )

    @classmethod
    def high(cls, **changes: Any) -> TransPrune:
        """The paper's High budget: 504, 360, 72 of 576 tokens.

        41 % of the visual FLOPs of LLaVA-1.5-7B.
        """
        return cls(**{"keep": HIGH, **changes})

    @classmethod
    def low(cls, **changes: Any) -> TransPrune:
        """The paper's Low budget: 360, 108, 36 of 576 tokens.

        31 % of the visual FLOPs of LLaVA-1.5-7B.
        """
        return cls(**{"keep": LOW, **changes})

    @classmethod
    def combined(cls, **changes: Any) -> TransPrune:
        """Behind a projector-side method: 1/2, 1/4, 1/8 of the tokens it left.

        This gives the cost of Tables 4 and 5.
        """
        return cls(**{"keep": COMBINED, **changes})

    @classmethod
    def ttv(cls, **changes: Any) -> TransPrune:
        """Token transition variation alone, at the High schedule."""
        return cls.high(**{"alpha": 1.0, **changes})

    @classmethod
    def iga(cls, **changes: Any) -> TransPrune:
        """Instruction-guided attention alone, at the High schedule."""
        return cls.high(**{"alpha": 0.0, **changes})

    @classmethod
    def smol(cls, **changes: Any) -> TransPrune:
        """Found by `transprune tune` for the second test bed: 384, 192, 182 of 576 tokens.

        At 41 % of all work there, on validation scenes; attention alone, with positions kept. On other
        models it has no evidence.
        """
        return cls(**{"keep": SMOL, "alpha": 0.0, "positions": "keep", **changes})

    def observed(self, num_layers: int) -> tuple[int, ...]:
        """The accumulation layers for this depth; without accumulation the boundaries."""
        if self.alpha == 0:
            return ()

        here = self.schedule(num_layers)
        if not self.accumulation:
            return here.boundaries

        assert isinstance(self.accumulate, (range, tuple))  # made so by `__post_init__`
        written = Schedule.of(self.keep)
        layers = tuple(move_layers(self.accumulate, written, here, num_layers))

        if layers and layers[-1] > num_layers:
            raise ScheduleError(
                f"accumulate takes 1-based layers of {num_layers}; got {list_layers(layers)}"
            )

        return layers

    def shifted_earlier(self, layers: int, num_layers: int) -> TransPrune:
        """With boundaries and accumulation layers so much earlier, from layer 1 on."""
        schedule = self.schedule(num_layers).earlier(layers, self.first_boundary)
        observed = [layer - layers for layer in self.observed(num_layers) if layer > layers]
        return replace(self, keep=schedule, accumulate=observed or None)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Attention rows of the instruction, unless TTV works alone."""
        readings = super().reads_at(num_layers)
        if self.alpha < 1:
            return readings

        return tuple(replace(reading, rows=None) for reading in readings)

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """How the schedule was adapted to the depth."""
        observed = self.observed(num_layers)
        tail = f"; TTV accumulates over layers {list_layers(observed)}" if observed else ""
        return tuple(note + tail for note in super().notes(num_layers))

    def transition_scores(self, step: LayerTransitions) -> dict[str, Tensor]:
        """TTV of each module, float32 [L]: direction weight times magnitude (equation 3)."""
        return {"attention": self._variation(step.attention), "mlp": self._variation(step.mlp)}

    def observe(self, layer: int, step: LayerTransitions, carry: Tensor) -> Tensor:
        """Add this layer's TTV; without accumulation it replaces what was carried."""
        # attention and MLP weigh alike
        change = sum(self.transition_scores(step).values(), torch.zeros_like(carry))
        return carry + change if self.accumulation else change

    def observe_layers(self, transitions: Transitions, carry: Tensor) -> Tensor:
        """The same for several layers at once."""
        variation = self._variation(transitions.joint)  # [M, 2, ..., L]
        if self.accumulation:
            return carry + variation.sum(dim=(0, 1))
        return variation[-1].sum(dim=0)

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """`alpha * TTV + (1 - alpha) * IGA`, each normalised to sum 1 (equation 7)."""
        scores: Scores = {}
        weighted = []

        # a criterion of weight 0 is not computed: nothing was read for it
        if self.alpha > 0:
            assert carry is not None
            scores["ttv"] = normalise_sum(carry)
            weighted.append(self.alpha * scores["ttv"])

        if self.alpha < 1:
            scores["iga"] = normalise_sum(view.mean_attention("instruction"))
            weighted.append((1 - self.alpha) * scores["iga"])

        scores["score"] = weighted[0] if len(weighted) == 1 else weighted[0] + weighted[1]
        return scores

    def _variation(self, change: Transition) -> Tensor:
        """TTV of a module, float32 [..., L]."""
        if not self.use_direction:
            return change.magnitude

        term = DIRECTIONS[self.direction](change.cosine)
        if self.softmax_over == "visual":
            # text tokens get weight 0
            term = term.masked_fill(~change.visual, float("-inf"))
        if change.real is not None:
            term = term.masked_fill(~change.real, float("-inf"))
        weight = term.softmax(dim=-1)
        return change.magnitude * weight if self.use_magnitude else weight
