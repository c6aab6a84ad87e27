"""FastAV: keep an early prefix at half the depth, then drop a fifth behind each later layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from transprune.core.plan import Reading, Stage
from transprune.core.schedule import Schedule, count_kept
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores
from transprune.errors import ScheduleError
from transprune.methods.common.checks import check_count, check_ratio
from transprune.methods.common.method import Fidelity, LayerPruner, Method, Positions
from transprune.methods.common.recipe import register
from transprune.methods.compose import Compose


@dataclass(frozen=True)
class Prefix(LayerPruner):
    """FastAV's global cut: the first tokens stay, whatever they are."""

    keep_ratio: float = 1.0
    start: int | None = None

    name: ClassVar[str] = "fastav"
    batched: ClassVar[bool] = True

    def schedule(self, num_layers: int) -> Schedule:
        """One boundary, half of the depth unless it is given."""
        return Schedule({_middle(self.start, num_layers): self.keep_ratio})

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """The earlier, the higher; nothing is read."""
        return {"score": -view.candidates.float()}


@dataclass(frozen=True)
class Fine(LayerPruner):
    """FastAV's fine cuts: FastV's rule behind every layer of the second half."""

    keep_ratio: float = 0.8
    least: float = 0.05
    start: int | None = None

    name: ClassVar[str] = "fastav"
    batched: ClassVar[bool] = True
    reads: ClassVar[Reads] = Reads(rows="last", source="previous")

    def schedule(self, num_layers: int) -> Schedule:
        """Shares of the tokens that arrive at the first cut, behind each layer from the middle on.

        It ends where `least` is reached.
        """
        first = _middle(self.start, num_layers) + 1
        ratios = {}
        share = 1.0

        for boundary in range(first, num_layers):
            share = max(share * self.keep_ratio, self.least)
            ratios[boundary] = share
            if share <= self.least:
                break

        # a start at the end of the model is refused with the boundaries it could have
        return Schedule(ratios or {first: self.keep_ratio})

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """One stage per cut, which drops `int(n * (1 - keep_ratio))` of the n that arrive."""
        boundaries = self.schedule(num_layers).check(num_layers, self.first_boundary).boundaries
        counts = self._counts(visual_tokens)
        return tuple(Stage(boundary, next(counts)) for boundary in boundaries)

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Mean over heads of the last token's attention in the layer that has just run."""
        return {"score": view.mean_attention("last")}

    def _counts(self, tokens: int) -> Iterator[int]:
        """How many of `tokens` stay at one cut after another, without end."""
        least = max(1, count_kept(tokens, self.least))
        while True:
            tokens = max(tokens - count_kept(tokens, 1 - self.keep_ratio), least)
            yield tokens


@register("fastav")
@dataclass(frozen=True)
class FastAV(Method):
    """Drop the tokens the last prompt token attends to least, a fifth behind each late layer.

    Jung et al., "FastAV: Efficient Token Pruning for Audio-Visual Large Language Model Inference",
    2026. https://arxiv.org/abs/2601.13143

    Written for models of sound and video. Two stages: at half of the depth only the tokens of an
    early prefix stay, whose length was found offline by attention rollout (VideoLLaMA2: nothing
    behind position 750 or so), alike for every prompt; then every later layer drops 20 % of what is
    left. There is no code to compare with. The paper's 56 % and 58 % of FLOPs depend on how long
    its prompts are, which is not known, so no published figure is reproduced.

    Args:
        keep_ratio: share of the arriving tokens that stays at each late cut, 1 - P of the paper.
            Default 0.8.
        prefix: share of the visual tokens, from the front, that stays at the first cut. Default 1.0
            (no such cut): the published lengths belong to two models of sound and video, and the
            front of a single picture is its upper part.
        least: share of the visual tokens at which the late cuts end; ours, since 15 cuts by a fifth
            leave 3.5 %. Default 0.05.
        start: boundary of the first cut; the late ones follow behind each layer from there on.
            Default None, half of the depth, as in the paper (14 of 28).
        positions: default `"keep"`; ours.

    Raises:
        MethodError, ScheduleError: a ratio outside (0, 1], a negative start or one without a layer
            behind it.
    """

    keep_ratio: float = 0.8
    prefix: float = 1.0
    least: float = 0.05
    start: int | None = None

    title: ClassVar[str] = "FastAV: a fifth less behind each late layer, by the last token"
    paper: ClassVar[str] = "Jung et al., 2026, arXiv 2601.13143"
    fidelity: ClassVar[Fidelity] = "reconstructed"
    reconstructed: ClassVar[str] = (
        "rounding, positions and where the cuts end are ours; both stages are those of the paper's "
        "summaries"
    )
    kind: ClassVar[str] = "within-LLM"
    default_positions: ClassVar[Positions] = "keep"
    budget_fields: ClassVar[tuple[str, ...]] = ("keep_ratio", "least")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio("keep_ratio", self.keep_ratio)
        check_ratio("prefix", self.prefix)
        check_ratio("least", self.least)
        if self.start is not None:
            check_count("start", self.start, "the boundary of the first cut", least=0)

    @property
    def steps(self) -> tuple[Method, ...]:
        """The global cut, where there is one, and the fine cuts."""
        fine = Fine(self.keep_ratio, self.least, self.start, positions=self.positions)
        if self.prefix == 1:
            return (fine,)

        return Prefix(self.prefix, self.start, positions=self.positions), fine

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """The stages of both."""
        return Compose(self.steps).plan(num_layers, visual_tokens)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Nothing at the global cut, the last row at every fine one."""
        return Compose(self.steps).reads_at(num_layers)

    def shifted_earlier(self, layers: int, num_layers: int) -> FastAV:
        """With all cuts so much earlier."""
        start = _middle(self.start, num_layers) - layers
        # without a prefix the first cut is one behind the start
        if start < (0 if self.prefix == 1 else 1):
            raise ScheduleError(f"{self.name} cannot start {layers} layers earlier")

        return replace(self, start=start)


def _middle(start: int | None, num_layers: int) -> int:
    """The boundary of the global cut."""
    return num_layers // 2 if start is None else start
