"""VScan: a local and a global scan of the vision tower, then one cut inside the language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.select import (
    assign_nearest,
    count_members,
    others,
    select_spread,
    select_top,
)
from transprune.core.plan import Reading
from transprune.core.schedule import Schedule, ScheduleLike, count_kept
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.checks import check_count, check_keep, check_ratio
from transprune.methods.common.method import Fidelity, Method, Positions
from transprune.methods.common.projector import (
    KeepPruner,
    keep_all_if_fits,
    merge_into,
    split_budget,
)
from transprune.methods.common.recipe import register
from transprune.methods.common.two_stages import TwoStages
from transprune.methods.pdrop import PDrop

HALFWAY = Schedule({16: 1 / 3}, depth=32)

# Side of a window. Qwen2.5-VL counts merged tokens, of 2 x 2 patches each.
SIDE_PATCHES = 6
SIDE_MERGED = 4


@dataclass(frozen=True)
class Scan(KeepPruner):
    """VScan's first stage: best patches of each window, best of the picture, the rest merged."""

    keep: int | float = 96
    local: float = 0.5
    window: int | None = None

    name: ClassVar[str] = "vscan"
    reads: ClassVar[Reads] = Reads(vision=("saliency", "early_saliency", "place", "grid"))

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Every token that goes is compared with every one that stays, by projected features."""
        return (Reading(0, similarity="features"),)

    def select(self, view: ProjectorView) -> Selection:
        """Each kept token becomes the mean of itself and its nearest, behind the projector."""
        vision = view.vision
        scores = {"score": vision["saliency"], "early": vision["early_saliency"]}
        whole = keep_all_if_fits(view, scores)
        if whole is not None:
            return whole

        patches, newlines = split_budget(vision, view.count)
        budget = view.count - len(newlines)

        # local scan: the early layer, window by window
        local = self._scan_windows(view, patches, count_kept(budget, self.local))

        # global scan: the late layer, over all patches that are left
        left = vision["saliency"][patches].index_fill(0, local, float("-inf"))
        top = select_top(left, budget - len(local))
        both = torch.cat([local, top]).sort().values
        kept = patches[both]

        means = _merge(view.features, kept, patches[others(len(patches), both)])
        return merge_into(view, torch.cat([kept, newlines]), [(kept, means)], scores)

    def _scan_windows(self, view: ProjectorView, patches: Tensor, count: int) -> Tensor:
        """The best patches of each window by early attention: positions in `patches`, ascending."""
        vision = view.vision
        early = vision["early_saliency"][patches]
        merges_patches = vision.states is None  # Qwen2.5-VL

        side = self.window or (SIDE_MERGED if merges_patches else SIDE_PATCHES)
        # which window a patch is in is known on the host
        own = vision.patches
        place = torch.from_numpy(vision.on_host("place")[own])
        grid = torch.from_numpy(vision.on_host("grid")[own])
        crop = torch.from_numpy(vision.on_host("crop")[own])
        window = number_windows(place, grid, crop, side)
        windows = int(window.max()) + 1

        if merges_patches:
            # the code for Qwen2.5-VL: a global ranking with a cap per window, rounded up
            most = -(-count // windows)
        else:
            # the code for LLaVA: the same number in every window
            most = count // windows

        return select_spread(early, window, count, most)


def _merge(features: Tensor, kept: Tensor, gone: Tensor) -> Tensor:
    """Means, fp32 [K, D], of each kept token and of those tokens that go and are nearest to it."""
    rows = features.float()
    group = assign_nearest(rows[gone], rows[kept])

    total = rows[kept].index_add(0, group, rows[gone])
    size = 1 + count_members(group, len(kept))
    return total / size[:, None]


@dataclass(frozen=True)
class Cut(PDrop):
    """VScan's second stage: PyramidDrop's rule, once."""

    name: ClassVar[str] = "vscan"


@register("vscan")
@dataclass(frozen=True)
class VScan(TwoStages):
    """Keep locally and globally salient patches, merge the others, and cut once in the LLM.

    Zhang et al., TMLR 2026. https://arxiv.org/abs/2505.22654

    Local scan: the best of each 6 x 6 window (4 x 4 merged tokens in Qwen2.5-VL; odd rows and
    columns join the last window) by CLS attention early in the tower; global scan: the best of the
    others by that of the layer which gives the features. Where windows do not divide the local
    half, the code falls short; here the global scan fills up. The cut reads the last token's
    attention to the visual tokens, with rotated keys (the code for Qwen2.5-VL forgets to).

    Args:
        keep: tokens after the scans, an int (count) or a float (share). Default 96, which with the
            cut is the paper's average of 64 over the layers; 192 and 288 give 128 and 192.
        then: the cut: boundary -> share of the tokens the scans left. Default a third after 16 of
            32 layers, scaling with depth (14 of 28, the paper's for Qwen2.5-VL). None leaves it
            out, to put another method there.
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
    fidelity: ClassVar[Fidelity] = "exact"
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
        if self.window is not None:
            check_count("window", self.window, "the side of a window in tokens")
        if self.then is not None:
            object.__setattr__(self, "then", Schedule.of(self.then))

    @property
    def first(self) -> Method:
        """The scans."""
        return Scan(self.keep, self.local, self.window, positions=self.positions)

    @property
    def second(self) -> Cut | None:
        """The cut, if there is one."""
        if self.then is None:
            return None
        return Cut(self.then, positions=self.positions)


def number_windows(place: Tensor, grid: Tensor, crop: Tensor, side: int) -> Tensor:
    """The window of each token, numbered 0, 1, ... without gaps. -> [N] long.

    place, grid [N, 2], crop [N] long, all on the host. Rows and columns that are left over join the last window.
    """
    windows = (grid // side).clamp(min=1)  # [N, 2], windows down and across
    row, column = torch.minimum(place // side, windows - 1).unbind(dim=1)

    # crops may have grids of different sizes, so count with the largest
    down = int(windows[:, 0].max()) + 1
    across = int(windows[:, 1].max()) + 1
    number = (crop * down + row) * across + column
    return number.unique(return_inverse=True)[1]
