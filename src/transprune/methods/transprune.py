"""TransPrune: token transition variation (TTV) and instruction-guided attention (IGA).

Every ablation of the paper is one argument. Where the paper and the released code differ, the paper is the default and
the code is a named option: the paper's direction term is `1 - |cos|`, the code computes `1 - cos` (27 MME points lower
in the paper's own table). Both criteria are divided by their sum before they are added, as the code does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from transprune.algebra.select import normalise_sum
from transprune.core.plan import Reading
from transprune.core.schedule import Schedule, ScheduleLike, as_boundary, scale_layers
from transprune.core.signals import Reads
from transprune.core.views import LayerTransitions, LayerView, Scores, Transition
from transprune.errors import MethodError, ScheduleError
from transprune.methods.common.method import Positions, check_flag
from transprune.methods.common.recipe import register
from transprune.methods.common.scheduled import COMBINED, HIGH, LOW, ScheduledPruner

Direction = Literal["one_minus_abs_cos", "one_minus_cos", "cos", "abs_cos"]
DIRECTIONS = {
    "one_minus_abs_cos": lambda cos: 1 - cos.abs(),
    "one_minus_cos": lambda cos: 1 - cos,
    "cos": lambda cos: cos,
    "abs_cos": lambda cos: cos.abs(),
}


@register("transprune")
@dataclass(frozen=True)
class TransPrune(ScheduledPruner):
    """Prune progressively by how much each token changes (TTV) and how much the instruction looks at it (IGA).

    Li et al., CVPR 2026. https://arxiv.org/abs/2507.20630

    Args:
        keep: boundary -> share of the original visual tokens kept from there on. Boundaries are the paper's 1-based
            pruning layers. The presets are written for 32 layers and scale with depth; a mapping of your own is used
            as it stands. Default: High (supplement, section B).
        accumulate: 1-based layers whose TTV is summed, numbered and scaled like `keep`. Default: from the first to the
            last boundary, the paper's 7..12.
        alpha: weight of TTV; IGA has `1 - alpha`. At 0 or 1 the other criterion is not computed at all. Default 0.5.
        direction: the direction term, on the cosine between a module's input and output. Default: the paper's.
        use_magnitude: multiply by the ratio of norms (equation 1).
        use_direction: multiply by the softmax of the direction term (equation 2).
        softmax_over: tokens that share the softmax of the direction term: `"all"` of the sample (paper and code), or
            `"visual"`.
        accumulation: sum over `accumulate`; False takes the boundary's own layer only.
        positions: default `"renumber"`, as the released code does; under M-RoPE always `"keep"`.

    Raises:
        MethodError: alpha outside [0, 1], an unknown direction or softmax scope, or TTV with neither term.
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
    presets: ClassVar[tuple[str, ...]] = ("high", "low", "ttv", "iga", "combined")
    default_positions: ClassVar[Positions] = "renumber"
    published_depths: ClassVar[tuple[int, ...]] = (
        28,
        32,
    )  # Qwen2.5-VL-7B's 45.1 % comes from 7, 9, 12 of 28 layers
    reads: ClassVar[Reads] = Reads(rows="instruction")

    def __post_init__(self) -> None:
        super().__post_init__()
        schedule = Schedule.of(self.keep)
        object.__setattr__(self, "accumulate", _layers(self.accumulate, schedule))
        if (
            isinstance(self.alpha, bool)
            or not isinstance(self.alpha, (int, float))
            or not 0 <= self.alpha <= 1
        ):
            raise MethodError(
                f"alpha weighs TTV against IGA and must lie in [0, 1]; got {self.alpha!r}"
            )
        if self.direction not in DIRECTIONS:
            raise MethodError(
                f"direction is one of {', '.join(DIRECTIONS)}; got {self.direction!r}"
            )
        if self.softmax_over not in ("all", "visual"):
            raise MethodError(f"softmax_over is 'all' or 'visual'; got {self.softmax_over!r}")
        for name in ("use_magnitude", "use_direction", "accumulation"):
            check_flag(name, getattr(self, name))
        if self.alpha > 0 and not (self.use_magnitude or self.use_direction):
            raise MethodError(
                "TTV needs its magnitude or its direction term; both are off. Use alpha=0 for IGA alone."
            )
        cut, start = schedule.boundaries[0], min(self.accumulate or (), default=0)
        if self.alpha == 1 and self.accumulation and start > cut:
            raise ScheduleError(
                f"TTV alone has nothing to rank by at boundary {cut}: accumulate starts at layer {start}"
            )

    @classmethod
    def high(cls, **changes: Any) -> TransPrune:
        """The paper's High budget: 504, 360, 72 of 576 tokens, 41 % of the visual FLOPs of LLaVA-1.5-7B."""
        return cls(**{"keep": HIGH, **changes})

    @classmethod
    def low(cls, **changes: Any) -> TransPrune:
        """The paper's Low budget: 360, 108, 36 of 576 tokens, 31 % of the visual FLOPs of LLaVA-1.5-7B."""
        return cls(**{"keep": LOW, **changes})

    @classmethod
    def combined(cls, **changes: Any) -> TransPrune:
        """Behind a projector-side method: 1/2, 1/4, 1/8 of what it left, which gives the cost of Tables 4 and 5."""
        return cls(**{"keep": COMBINED, **changes})

    @classmethod
    def ttv(cls, **changes: Any) -> TransPrune:
        """Token transition variation alone, at the High schedule."""
        return cls.high(**{"alpha": 1.0, **changes})

    @classmethod
    def iga(cls, **changes: Any) -> TransPrune:
        """Instruction-guided attention alone, at the High schedule."""
        return cls.high(**{"alpha": 0.0, **changes})

    def observed(self, num_layers: int) -> tuple[int, ...]:
        """The accumulation layers for this depth; without accumulation, the boundaries themselves."""
        if self.alpha == 0:
            return ()
        schedule, layers = Schedule.of(self.keep), tuple(self.accumulate or ())
        here = self.schedule(num_layers).boundaries
        if not self.accumulation:
            return here
        if here != schedule.boundaries and schedule.depth is not None:
            moved = dict(
                zip(schedule.boundaries, here, strict=True)
            )  # a boundary takes its own layer along
            for layer in set(layers) - set(moved):
                moved[layer] = scale_layers((layer,), schedule.depth, num_layers)[0]
            scaled = sorted({moved[layer] for layer in layers})
            contiguous = isinstance(
                self.accumulate, range
            )  # on deeper models a range has no holes either
            layers = tuple(range(scaled[0], scaled[-1] + 1) if contiguous else scaled)
        if layers and layers[-1] > num_layers:
            raise ScheduleError(
                f"accumulate takes 1-based layers of {num_layers}; got {_list(layers)}"
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
        return (
            readings
            if self.alpha < 1
            else tuple(replace(reading, rows=None) for reading in readings)
        )

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """How the schedule was adapted to the depth."""
        observed = self.observed(num_layers)
        tail = f"; TTV accumulates over layers {_list(observed)}" if observed else ""
        return tuple(note + tail for note in super().notes(num_layers))

    def transition_scores(self, step: LayerTransitions) -> dict[str, Tensor]:
        """TTV of each module, float32 [L]: direction weight times magnitude (equation 3)."""
        return {"attention": self._variation(step.attention), "mlp": self._variation(step.mlp)}

    def observe(self, layer: int, step: LayerTransitions, carry: Tensor) -> Tensor:
        """Add this layer's TTV; without accumulation it replaces what was carried."""
        change = sum(self.transition_scores(step).values(), torch.zeros_like(carry))
        return carry + change if self.accumulation else change

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """`alpha * TTV + (1 - alpha) * IGA`, each normalised to sum 1 (equation 7)."""
        scores: Scores = {}
        if self.alpha > 0:
            assert carry is not None
            scores["ttv"] = normalise_sum(carry)
        if self.alpha < 1:
            scores["iga"] = normalise_sum(
                view.attention("instruction").mean(dim=(0, 1))
            )  # [H, T, N] -> [N]
        weights = {"ttv": self.alpha, "iga": 1 - self.alpha}
        scores["score"] = torch.stack(
            [weights[name] * share for name, share in scores.items()]
        ).sum(dim=0)
        return scores

    def _variation(self, change: Transition) -> Tensor:
        variation = change.magnitude if self.use_magnitude else torch.ones_like(change.magnitude)
        if self.use_direction:
            term = DIRECTIONS[self.direction](change.cosine)
            if self.softmax_over == "visual":
                term = term.masked_fill(~change.visual, float("-inf"))
            variation = variation * term.softmax(dim=0)
        return variation


def _layers(
    accumulate: Iterable[int] | int | str | None, schedule: Schedule
) -> range | tuple[int, ...]:
    """Accumulation layers as a range where they are contiguous, else as an ascending tuple."""
    if accumulate is None:
        return range(max(1, schedule.boundaries[0]), schedule.boundaries[-1] + 1)
    try:
        if isinstance(accumulate, int):
            accumulate = (accumulate,)
        if isinstance(accumulate, str):  # "7-12" or "7,9,12" on a command line
            spans = [part.split("-") for part in accumulate.split(",")]
            accumulate = [
                layer for span in spans for layer in range(int(span[0]), int(span[-1]) + 1)
            ]
        layers = sorted({as_boundary(layer) for layer in accumulate})
    except (TypeError, ValueError, OverflowError) as error:
        raise ScheduleError(
            f"accumulate takes 1-based layers, as range(7, 13) or '7-12'; got {accumulate!r}"
        ) from error
    if not layers or layers[0] < 1:
        raise ScheduleError(f"accumulate takes 1-based layers, so 1 is the first; got {layers}")
    contiguous = range(layers[0], layers[-1] + 1)
    return contiguous if len(contiguous) == len(layers) else tuple(layers)


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
