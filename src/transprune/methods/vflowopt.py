"""VFlowOpt: one map of the vision tower thins the tokens out in front of the LLM and twice inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from transprune.algebra.recycle import cells_of, choose_recycled, mean_of_cells
from transprune.algebra.select import select_top
from transprune.core.plan import Stage
from transprune.core.rows import upload
from transprune.core.schedule import Schedule, ScheduleLike
from transprune.core.signals import Reads, context_saliency
from transprune.core.views import LayerView, ProjectorView, Scores, Selection, View
from transprune.methods.common.checks import check_keep, check_number, check_ratio
from transprune.methods.common.method import Fidelity, Method, Positions
from transprune.methods.common.projector import KeepPruner, keep_all_if_fits
from transprune.methods.common.recipe import register
from transprune.methods.common.scalable import Range
from transprune.methods.common.scheduled import ScheduledPruner
from transprune.methods.common.two_stages import TwoStages

# LLaVA-OneVision-7B, for which the settings were published
DEPTH = 28
FIRST, SECOND = 9, 18


def cuts(ratio: float, last: float) -> Schedule:
    """The two cuts inside: `ratio` of what arrives stays at the first, `last` of that at the second.

    As shares of the tokens that entered the language model.
    """
    return Schedule({FIRST: ratio, SECOND: ratio * last}, depth=DEPTH)


@dataclass(frozen=True)
class Recycle(KeepPruner):
    """VFlowOpt's first stage: the most important tokens, and means of the others on a grid."""

    keep: int | float = 0.2651
    context: float = 34.76
    cell: float = 15.581

    name: ClassVar[str] = "vflowopt"

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        """The map, and where the tokens lie in their picture."""
        return Reads(vision=(context_saliency(self.context), "place", "grid", "tiles"))

    def count(self, visual_tokens: int) -> int:
        """Of a share, what is left when `round(N * (1 - keep))` are dropped."""
        if isinstance(self.keep, float):
            return visual_tokens - round(visual_tokens * (1 - self.keep))
        return super().count(visual_tokens)

    def select(self, view: ProjectorView) -> Selection:
        """The best by the map, with recycling where the pool is one picture."""
        importance = read_map(view, self.context)
        scores = {"score": importance}
        whole = keep_all_if_fits(view, scores)
        if whole is not None:
            return whole

        slots = min(view.count, int(len(importance) / self.cell**2))
        on_host = cells_of(view.vision, self.cell)
        if on_host is None or slots == 0:
            return Selection(select_top(importance, view.count), scores=scores)

        cells = int(on_host.max()) + 1
        # tokens without a patch (-1) are in no cell
        cell = upload(np.where(on_host < 0, cells, on_host), importance.device)
        chosen = choose_recycled(importance, cell, cells, view.count, slots)
        rows = mean_of_cells(view.features, importance, cell, cells, chosen)
        return Selection(chosen.keep, features=rows, scores=scores)


@dataclass(frozen=True)
class Again(ScheduledPruner):
    """VFlowOpt's cuts inside: by the same map, nothing of the language model is read."""

    context: float = 34.76

    name: ClassVar[str] = "vflowopt"
    default_positions: ClassVar[Positions] = "keep"

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        """The map."""
        return Reads(vision=(context_saliency(self.context),))

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """Each cut drops `round(n * (1 - r))` of the n that arrive, r its share of the one before."""
        stages = []
        tokens, before = visual_tokens, 1.0
        for boundary, share in self.schedule(num_layers).check(num_layers, self.first_boundary):
            left = tokens - round(tokens * (1 - share / before))
            tokens, before = max(1, left), share
            stages.append(Stage(boundary, tokens, rounded_up=left < 1))
        return tuple(stages)

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """The importance of the patch in whose place each token stands."""
        return {"score": read_map(view, self.context)}


@register("vflowopt")
@dataclass(frozen=True)
class VFlowOpt(TwoStages):
    """Rank the patches by what the most attended ones attend to, and cut three times by that.

    Yang et al., ICCV 2025. https://arxiv.org/abs/2508.05211

    Context tokens are the patches that receive more than `context` times the mean attention in the
    layer of the tower that gives the features; a patch's importance is the attention it receives
    from them, mean over heads. In front of the language model the least important patches are
    averaged, weighted by importance, cell by cell of a grid (that of the whole picture, and that of
    its tiles together); each mean stands at the most important patch of its cell. Several pictures
    and videos are cut without such means. Inside the language model two more cuts go by the same
    map. Newline tokens have the highest importance. The paper's entropy of a patch has the weight 0
    in every released setting and is left out.

    Where the tower has a CLS token it is neither context nor counted, and where several patches make
    one token their importance is averaged; ours, as the released code is for SigLIP.

    Args:
        keep: tokens in front of the language model, an int (count) or a float (share). Default
            0.2651, of the released setting for an average of 25 % over the layers of
            LLaVA-OneVision-7B.
        then: boundary -> share of these that stays from there on. Default 0.98334 and 0.87733 of
            that, at 9 and 18 of 28 layers, of the same setting; scales with depth. None leaves the
            cuts out, to put another method there.
        context: threshold of the context tokens, in means. Default 34.76, found for the 729 patches
            of a tile of LLaVA-OneVision; of fewer patches perhaps none receives so much, and the
            most attended one alone is the context. `transprune tune` finds one for a model.
        cell: side of a cell in tokens, not necessarily whole; `N / cell^2` tokens are means. Default
            15.581.
        positions: default renumbered in front of the language model and kept inside, as in the code.

    Raises:
        MethodError, ScheduleError: settings out of range, boundaries that make no schedule.
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    keep: int | float = 0.2651
    then: ScheduleLike | None = cuts(0.98334, 0.87733)
    context: float = 34.76
    cell: float = 15.581

    title: ClassVar[str] = "VFlowOpt: a map of the vision tower's context tokens, three cuts"
    paper: ClassVar[str] = "Yang et al., ICCV 2025, arXiv 2508.05211"
    fidelity: ClassVar[Fidelity] = "exact"
    kind: ClassVar[str] = "hybrid"
    presets: ClassVar[tuple[str, ...]] = ("half", "quarter", "tenth")
    differs_from_code: ClassVar[str] = (
        "the number of tokens is fixed: of more cells than slots the least important go, and free "
        "slots keep patches; with no patch above the threshold the most attended one is the "
        "context (not a number there); no entropy, whose released weight is 0"
    )
    default_positions: ClassVar[Positions] = "renumber"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep("keep", self.keep)
        check_number("context", self.context)
        check_number("cell", self.cell, above=0)
        if self.then is not None:
            object.__setattr__(self, "then", Schedule.of(self.then))

    @classmethod
    def half(cls, **changes: Any) -> VFlowOpt:
        """The released setting for an average of 50 % of the tokens."""
        own = {"keep": 0.72332, "then": cuts(0.74875, 0.487), "context": 28.683, "cell": 11.757}
        return cls(**{**own, **changes})

    @classmethod
    def quarter(cls, **changes: Any) -> VFlowOpt:
        """The released setting for an average of 25 %: the default."""
        return cls(**changes)

    @classmethod
    def tenth(cls, **changes: Any) -> VFlowOpt:
        """The released setting for an average of 10 %."""
        own = {"keep": 0.11662, "then": cuts(1.0, 0.6011), "context": 39.265, "cell": 17.387}
        return cls(**{**own, **changes})

    @classmethod
    def for_average(cls, average: float, keep: float, ratio: float, **changes: Any) -> VFlowOpt:
        """With the last cut solved from the average share of tokens over the layers.

        Args:
            average: share of the visual tokens that a layer sees in the mean.
            keep: share in front of the language model.
            ratio: share of these that the first cut inside leaves.
            changes: other settings.

        Raises:
            MethodError, ScheduleError: a share outside (0, 1], or an average that the front and the
                first cut have used up.
        """
        last = solve_last(average, keep, ratio)
        return cls(keep=keep, then=cuts(ratio, last), **changes)

    def search_box(self) -> dict[str, Range]:
        """The paper's box; its share of 0.25 to 0.375 for an average of 0.25 is taken as a multiple.

        What is left at the second cut is solved from the budget.
        """
        return {
            "context": Range(0.0, 50.0),
            "cell": Range(3.0, 24.0),
            "front": Range(1.0, 1.5, setting="keep"),
            "ratio": Range(0.533, 1.0, setting="then"),
        }

    def drawn(self, values: Mapping[str, float], budget: float) -> VFlowOpt:
        """With these values; scaling then changes the last cut, unless `then` was given."""
        changes: dict[str, Any] = {n: values[n] for n in ("context", "cell") if n in values}
        if "front" in values:
            changes["keep"] = min(1.0, values["front"] * budget)
        if "ratio" not in values:
            return replace(self, **changes)

        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return LastSolved(**{**own, **changes, "then": cuts(values["ratio"], 1.0)})

    def in_box(self, budget: float) -> dict[str, float]:
        """Its own values; of another schedule or a count, those in the middle of the box."""
        front = self.keep / budget if isinstance(self.keep, float) else 1.25
        shares = dict(self.then) if isinstance(self.then, Schedule) else {}
        ratio = shares.get(FIRST, 0.75)
        return {"context": self.context, "cell": self.cell, "front": front, "ratio": ratio}

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        """What the first stage reads."""
        return self.first.reads

    @property
    def first(self) -> Method:
        """The stage with recycling."""
        return Recycle(self.keep, self.context, self.cell, positions=self.positions)

    @property
    def second(self) -> Again | None:
        """The cuts inside, if there are any."""
        if self.then is None:
            return None
        return Again(self.then, self.context, positions=self.positions)


@dataclass(frozen=True)
class LastSolved(VFlowOpt):
    """VFlowOpt while its last cut is solved from a budget: scaling changes that cut only."""

    def scaled_by(self, factor: float) -> LastSolved:
        """With `factor` times as much behind the second cut, at most all that arrives there."""
        (first, ratio), (second, share) = Schedule.of(self.then or cuts(1.0, 1.0)).keep
        shares = {first: ratio, second: min(ratio, share * factor)}
        return replace(self, then=Schedule(shares, depth=DEPTH))


def solve_last(average: float, keep: float, ratio: float) -> float:
    """The share that the second cut leaves, so that a layer sees `average` of the tokens; at most 1.

    Of 28 layers 9 see `keep`, 9 `keep * ratio` and 10 that times the result. Source: VFlowOpt's
    code.

    Raises:
        ScheduleError: a share outside (0, 1], or nothing is left for the last ten layers.
    """
    for name, share in {"average": average, "keep": keep, "ratio": ratio}.items():
        check_ratio(name, share)

    used = FIRST * keep + (SECOND - FIRST) * keep * ratio
    left = (DEPTH * average - used) / (DEPTH - SECOND)
    last = min(1.0, left / (keep * ratio))
    check_ratio(f"the last cut for an average of {average:g} with keep={keep:g}", last)
    return last


def read_map(view: View, context: float) -> Tensor:
    """The importance of each token, float32 [N]; 1 for newline tokens, as in the code."""
    return view.vision[context_saliency(context)].nan_to_num(nan=1.0)
