"""TopV: tokens that optimal transport uses most to explain a layer's outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from transprune.algebra.select import others, select_even, select_top
from transprune.algebra.transport import sinkhorn
from transprune.core.plan import Reading
from transprune.core.schedule import Schedule
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores, Selection
from transprune.methods.common.checks import (
    check_choice,
    check_count,
    check_number,
    check_ratio,
    check_share,
)
from transprune.methods.common.method import Fidelity, LayerPruner, Positions
from transprune.methods.common.recipe import register
from transprune.methods.common.relevance import rescale_to_one

ROUNDS = 3  # of Sinkhorn's algorithm, as in the paper


@register("topv")
@dataclass(frozen=True)
class TopV(LayerPruner):
    """Keep the tokens that optimal transport uses most from a layer's input to its output.

    Yang et al., "TopV: Compatible Token Pruning with Inference Time Optimization", CVPR 2025.
    https://arxiv.org/abs/2503.18278

    Sources are the visual rows that enter the layer in front of the boundary, targets the same
    tokens behind its second norm (the MLP's input). The cost of a pair is `feature` times the
    distance of the two rows, plus `place` times 1 - exp(-d^2 / 2 sigma^2) with d their distance on
    the grid, plus `centre` times the source's distance from the middle of it, each rescaled to
    0..1. After three rounds of Sinkhorn's algorithm importance is how much of the plan starts at a
    token. Of the tokens that would go, some are taken back at even distances.

    Three things here are choices. The rounds end with the targets: ending with the sources, each
    token's sum is its given share exactly and says nothing (`end="row"` shows it). Both shares are
    uniform; where the sources are scaled to theirs in between, what makes a source costly for all
    targets alike, as `centre` does, cancels, and `relax` above 0 lets it count. And the tokens of a
    pool, those that are gone by then included, count as one raster as square as possible, which is
    LLaVA-1.5's grid; of tiles it is not.
    The paper's costs of 51 % and 35 % are those of 279 and 180 of 576.

    Args:
        layer: so many layers see every token. Not scaled with depth. Default 2, the paper's.
        keep_ratio: share of the visual tokens that stays, with those taken back. Default 0.5.
        stride: every so-many-th of those that go is taken back; 0 for none. Default 4, a third
            party's.
        feature, place, centre: weights of the three costs. Default 1, 1, 0.01, a third party's; the
            paper finds little difference.
        sigma: of the distance on the grid. Default 10, a third party's.
        smoothing: epsilon of the transport. Default 0.1, a third party's.
        end: `"column"` (default) or `"row"`, see above.
        relax: 0 (default) scales the sources in every round, 1 leaves them free; see above.
        importance: `"mass"` (default), or `"cost"`: minus the cost of what starts at a token.
        positions: default `"keep"`; ours.

    Raises:
        MethodError, ScheduleError: settings out of range.
        MissingSignal: on a layer without an MLP of its own.
    """

    layer: int = 2
    keep_ratio: float = 0.5
    stride: int = 4
    feature: float = 1.0
    place: float = 1.0
    centre: float = 0.01
    sigma: float = 10.0
    smoothing: float = 0.1
    end: Literal["column", "row"] = "column"
    relax: float = 0.0
    importance: Literal["mass", "cost"] = "mass"

    title: ClassVar[str] = "TopV: optimal transport from a layer's input to its output"
    paper: ClassVar[str] = "Yang et al., CVPR 2025, arXiv 2503.18278"
    fidelity: ClassVar[Fidelity] = "reconstructed"
    reconstructed: ClassVar[str] = (
        "costs, layer and rounds from the abstract, a caption and a note; weights from a third "
        "party; shares of the transport, its last side, importance and the grid are ours"
    )
    default_positions: ClassVar[Positions] = "keep"
    reads: ClassVar[Reads] = Reads(signals=("layer_rows",))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("layer", self.layer, "the number of layers that see every token")
        check_ratio("keep_ratio", self.keep_ratio)
        check_count("stride", self.stride, "the distance of those taken back", least=0)
        for name in ("feature", "place", "centre"):
            check_number(name, getattr(self, name))
        check_number("sigma", self.sigma, above=0)
        check_number("smoothing", self.smoothing, above=0)
        check_choice("end", self.end, ("column", "row"))
        check_share("relax", self.relax, "frees the sources (1) or scales them (0)")
        check_choice("importance", self.importance, ("mass", "cost"))

    def schedule(self, num_layers: int) -> Schedule:
        """One boundary, `layer`."""
        return Schedule({self.layer: self.keep_ratio})

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Every source is compared with every target."""
        return (Reading(self.layer, similarity="features"),)

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """How much of the transport starts at each token."""
        sources, targets = view.read("layer_rows")
        places, middle = places_of(view)
        cost = self._costs(sources, targets, places, middle)  # [N, N]
        plan = sinkhorn(cost, self.smoothing, ROUNDS, self.end, self.relax)
        if self.importance == "cost":
            return {"score": -(plan * cost).sum(dim=1)}

        return {"score": plan.sum(dim=1)}

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """The most important tokens, and of the others some at even distances."""
        scores = self.score(view, carry)
        total = len(view.candidates)
        best = select_top(scores["score"], best_count(total, view.count, self.stride))

        rest = others(total, best)
        back = select_even(len(rest), view.count - len(best), rest.device)
        return Selection(torch.cat([best, rest[back]]).sort().values, scores=scores)

    def _costs(self, sources: Tensor, targets: Tensor, places: Tensor, middle: Tensor) -> Tensor:
        """The cost of every pair, float32 [N, N]; places [N, 2] and the middle of their grid [2]."""
        distance = torch.cdist(sources.float(), targets.float())
        cost = self.feature * _rescale(distance)

        apart = torch.cdist(places, places)
        cost = cost + self.place * _rescale(1 - (-apart.square() / (2 * self.sigma**2)).exp())

        from_centre = (places - middle).norm(dim=-1)
        return cost + self.centre * rescale_to_one(from_centre)[:, None]


def best_count(total: int, count: int, stride: int) -> int:
    """How many of `count` are the most important, if every `stride`-th of the others comes back."""
    if stride == 0 or count == total:
        return count
    if stride == 1:  # all come back
        return 0

    # k + (total - k) / stride = count
    return max(0, math.floor((count * stride - total) / (stride - 1)))


def places_of(view: LayerView) -> tuple[Tensor, Tensor]:
    """Places of the candidates in the raster of their pool, and its middle. float32 [N, 2], [2]."""
    candidates = view.candidates
    # tokens that a method in front of this one has dropped still have their place
    first, total = view.span or (None, len(candidates))
    whole = raster(total, candidates.device)
    places = whole if first is None else whole[candidates - first]
    return places, whole.amax(dim=0) / 2


def raster(total: int, device: torch.device) -> Tensor:
    """Row and column of `total` tokens in a grid as square as possible. -> float32 [N, 2]."""
    columns = math.ceil(math.sqrt(total))
    number = torch.arange(total, device=device)
    return torch.stack([number // columns, number % columns], dim=1).float()


def _rescale(cost: Tensor) -> Tensor:
    """All entries moved to 0..1. [N, N] -> [N, N]."""
    return rescale_to_one(cost.flatten()).view_as(cost)
