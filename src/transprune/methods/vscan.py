"""VScan: a local and a global scan of the vision tower, then one cut inside the language model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.select import assign_nearest, select_spread, select_top
from transprune.core.plan import Reading, Stage
from transprune.core.schedule import Schedule, ScheduleLike, count_kept
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.errors import MethodError
from transprune.methods.common.method import Method, Positions, check_keep, check_ratio
from transprune.methods.common.projector import KeepPruner, everything, split_budget
from transprune.methods.common.recipe import register
from transprune.methods.compose import Compose
from transprune.methods.pdrop import PDrop

HALFWAY = Schedule({16: 1 / 3}, depth=32)


@dataclass(frozen=True)
class Scan(KeepPruner):
    """VScan's first stage: half of the budget window by window, half by the whole picture, the rest merged in."""

    keep: int | float = 96
    local: float = 0.5
    window: int | None = None

    name: ClassVar[str] = "vscan"
    reads: ClassVar[Reads] = Reads(vision=("saliency", "early_saliency", "place", "grid"))

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Every token that goes is compared with every one that stays, by projected features."""
        return (Reading(0, similarity="features"),)

    def select(self, view: ProjectorView) -> Selection:
        """Kept tokens are the mean of themselves and of those nearest to them, in the projected space."""
        vision = view.vision
        saliency, early = vision["saliency"], vision["early_saliency"]
        scores = {"score": saliency, "early": early}
        if (whole := everything(view)) is not None:
            return Selection(whole.keep, scores=scores)
        patches, others = split_budget(vision, view.count)
        budget = view.count - len(others)
        side = self.window or (4 if vision.states is None else 6)  # Qwen2.5-VL counts merged tokens
        window = number_windows(
            vision["place"][patches], vision["grid"][patches], vision.crop[patches], side
        )
        near, windows = count_kept(budget, self.local), int(window.max()) + 1
        if vision.states is None:  # the code for Qwen2.5-VL: a global ranking with a cap per window
            here = select_spread(early[patches], window, near, -(-near // windows))
        else:  # the code for LLaVA: the same number in every window
            here = select_spread(early[patches], window, near, near // windows)
        left = saliency[patches].index_fill(0, here, float("-inf"))
        kept = torch.cat([here, select_top(left, budget - len(here))]).sort().values
        kept = patches[kept]
        gone = patches[~torch.isin(patches, kept)]
        rows = view.features.float()
        group = assign_nearest(rows[gone], rows[kept])
        total = rows[kept].index_add(0, group, rows[gone])
        features = view.features.clone()
        size = 1 + torch.bincount(group, minlength=len(kept))[:, None]
        features[kept] = (total / size).to(features.dtype)
        keep = torch.cat([kept, others]).sort().values
        return Selection(keep, features=features[keep], scores=scores)


@dataclass(frozen=True)
class Cut(PDrop):
    """VScan's second stage: PyramidDrop's rule, once."""

    name: ClassVar[str] = "vscan"


@register("vscan")
@dataclass(frozen=True)
class VScan(Method):
    """Keep locally and globally salient patches, merge all others into them, and cut once more halfway up the LLM.

    Zhang et al., TMLR 2026. https://arxiv.org/abs/2505.22654

    Local scan: the best of each 6 x 6 window (4 x 4 merged tokens in Qwen2.5-VL; odd rows and columns join the last
    window) by CLS attention early in the tower; global scan: the best of the others by that of the layer which gives
    the features. Where windows do not divide the local half, the code falls short; here the global scan fills up. The
    cut reads the last token's attention to the visual tokens, with rotated keys (the code for Qwen2.5-VL forgets to).

    Args:
        keep: tokens after the scans, an int (count) or a float (share). Default 96, which with the cut is the paper's
            average of 64 over the layers; 192 and 288 give 128 and 192.
        then: the cut: boundary -> share of what the scans left. Default a third after 16 of 32 layers, scaling with
            depth (14 of 28, the paper's for Qwen2.5-VL). None leaves it out, to put another method there.
        local: share of `keep` that the local scan takes. Default 0.5.
        window: side of a window. Default 6 patches, or 4 merged tokens.

    Raises:
        MethodError, ScheduleError: settings out of range, boundaries that make no schedule.
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    keep: int | float = 96
    then: ScheduleLike | None = HALFWAY
    local: float = 0.5
    window: int | None = None

    title: ClassVar[str] = (
        "VScan: local and global scan with merging, then a cut in the language model"
    )
    paper: ClassVar[str] = "Zhang et al., TMLR 2026, arXiv 2505.22654"
    kind: ClassVar[str] = "hybrid"
    differs_from_code: ClassVar[str] = (
        "one pool per sample: anyres tiles share the budget, and newline tokens go first"
    )
    default_positions: ClassVar[Positions] = "renumber"
    reads: ClassVar[Reads] = Scan.reads

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep("keep", self.keep)
        check_ratio("local", self.local)
        if self.window is not None and (isinstance(self.window, bool) or not self.window > 0):
            raise MethodError(f"window is the side of a window in tokens; got {self.window!r}")
        object.__setattr__(self, "then", None if self.then is None else Schedule.of(self.then))

    @property
    def steps(self) -> tuple[Method, ...]:
        """The scans, and the cut if there is one."""
        scan = Scan(self.keep, self.local, self.window, positions=self.positions)
        return (scan,) if self.then is None else (scan, Cut(self.then, positions=self.positions))

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """The stages of both."""
        return Compose(self.steps).plan(num_layers, visual_tokens)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """The readings of both."""
        return Compose(self.steps).reads_at(num_layers)

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """How the cut was adapted to this depth."""
        return Compose(self.steps).notes(num_layers)

    def shifted_earlier(self, layers: int, num_layers: int) -> VScan:
        """With the cut so much earlier."""
        if self.then is None:
            return super().shifted_earlier(layers, num_layers)
        return replace(self, then=Cut(self.then).shifted_earlier(layers, num_layers).keep)


def number_windows(place: Tensor, grid: Tensor, crop: Tensor, side: int) -> Tensor:
    """Window of each token, numbered 0, 1, ... without gaps; what is left over joins the last window. -> [N] long.

    place, grid [N, 2], crop [N] long.
    """
    windows = (grid // side).clamp(min=1)
    row, column = torch.minimum(place // side, windows - 1).unbind(dim=1)
    number = (crop * (int(windows[:, 0].max()) + 1) + row) * (int(windows[:, 1].max()) + 1) + column
    return number.unique(return_inverse=True)[1]
