"""One stage: give the method its views, collect what it chooses, and say which rows remain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.plan import Stage
from transprune.core.views import LayerView, ProjectorView, Selection, View
from transprune.methods.common.method import LayerPruner, Method, ProjectorPruner
from transprune.methods.common.surplus import surplus_note
from transprune.runtime.checks import check_keep
from transprune.runtime.forward_pass import Pass
from transprune.runtime.host import to_host
from transprune.runtime.pools import Pool, PoolGroup, PoolRows, grouped, pools_of
from transprune.runtime.stage_result import Choice, StageResult
from transprune.runtime.taps.base import Signals


@dataclass(frozen=True)
class Step:
    """One method of the session, with what it needs at its boundaries.

    Attributes:
        number: place of the method among the steps of the session.
        method: the method.
        num_layers: depth of the model.
        pool: whether a sample's visual tokens are ranked together or image by image.
        moves: boundary of the method -> where it acts in this model.
    """

    number: int
    method: Method
    num_layers: int
    pool: Pool
    moves: Mapping[int, int] = field(default_factory=dict)
    _plans: dict[int, dict[int, Stage]] = field(default_factory=dict)
    _surplus: dict[int, str | None] = field(default_factory=dict)

    @cached_property
    def takes_groups(self) -> bool:
        """The method chooses for several pools at once."""
        return isinstance(self.method, LayerPruner) and self.method.batched

    @cached_property
    def in_front(self) -> bool:
        """The method acts in front of the language model."""
        return isinstance(self.method, ProjectorPruner)

    def planned(self, boundary: int, total: int) -> Stage:
        """What to keep at a boundary of a pool that had `total` tokens in front of the method."""
        if total not in self._plans:
            stages = self.method.plan(self.num_layers, total)
            self._plans[total] = {
                self.moves.get(stage.boundary, stage.boundary): stage for stage in stages
            }
        return self._plans[total][boundary]

    def surplus(self, total: int) -> str | None:
        """A note where a pool has more tokens than the method's budget is meant for."""
        if total not in self._surplus:
            self._surplus[total] = surplus_note(self.method, self.num_layers, total)
        return self._surplus[total]


@dataclass(frozen=True)
class StageInput:
    """A batch at one boundary.

    Attributes:
        boundary: 0-based layer behind it.
        layout: the rows that arrive.
        hidden: [B, L, D], what enters the layer.
        signals: what the taps offer.
    """

    boundary: int
    layout: Layout
    hidden: Tensor
    signals: Signals

    def view(self, step: Step, group: PoolGroup, stage: Stage) -> View:
        """The view of the pools, of each of which `stage.count` tokens are to be kept.

        With a leading dimension where the method takes several pools at once.
        """
        batched = step.takes_groups
        # bound to the pools here, computed when the method reads them
        where = group if batched else group.pools[0]
        signals = {name: partial(signal, where) for name, signal in self.signals.items()}

        def rows_of(table: Tensor) -> Tensor:
            return group.of(table) if batched else group.of(table)[0]

        shared: dict[str, Any] = {
            "boundary": self.boundary,
            "count": stage.count,
            "candidates": rows_of(self.layout.token),
            "_hidden": lambda: rows_of(self.hidden),
            "merged": stage.merged,
            "signals": signals,
            "total": max(self.layout.prompt.visual_counts[sample] for sample in group.samples),
            "span": None if batched else group.pools[0].span,
        }

        if step.in_front:
            sample = group.samples[0]
            words = self.layout.instruction_rows(sample)
            shared["_instruction"] = lambda: self.hidden[sample, words]
            return ProjectorView(**shared)

        return LayerView(**shared)


def run_stage(step: Step, state: Pass, batch: StageInput) -> StageResult:
    """Run the method of `step` on every pool of every sample."""
    pools = list(pools_of(batch.layout, batch.hidden, step.pool))
    choices = [
        _choose(step, state, batch, group, stage)
        for group, stage in _groups(step, state, batch.boundary, pools)
    ]

    layout = batch.layout
    visual = [0] * layout.batch
    for choice in choices:
        for sample in choice.group.samples:
            visual[sample] += choice.kept

    # where nothing but one block of rows may go, no flag for every row is needed
    block = _block(layout, choices)
    stay = None if block is not None else _marks(layout, choices)
    spared = [0] * layout.batch if stay is None else _spare_last(layout, stay)
    kept_visual = tuple(map(sum, zip(visual, spared, strict=True)))
    text = zip(layout.text_counts, kept_visual, strict=True)

    return StageResult(
        choices=choices,
        layout=layout,
        stay=stay,
        block=block,
        kept=tuple(n + m + layout.drafts for n, m in text),
        kept_visual=kept_visual,
        image_counts=_image_counts(layout, step.pool, choices, kept_visual, spared),
    )


def _block(layout: Layout, choices: list[Choice]) -> slice | None:
    """The visual rows, where they are the same in every sample, and nothing but them may go."""
    # a prompt that ends with its image keeps its last row, which is a visual one
    if len(choices) != 1 or not layout.dense or any(layout.prompt.ends_with_image):
        return None
    return choices[0].group.together


def _marks(layout: Layout, choices: list[Choice]) -> Tensor:
    """Real rows that the method keeps, and all that are not visual. bool [B, L]."""
    stay = layout.valid.clone()
    for choice in choices:
        choice.group.mark_all(stay, False)
    for choice in choices:
        choice.group.mark(stay, choice.rows, True)
    return stay


def _image_counts(
    layout: Layout,
    pool: Pool,
    choices: list[Choice],
    kept_visual: tuple[int, ...],
    spared: list[int],
) -> tuple[tuple[int, ...], ...] | None:
    """Visual tokens that stay of each image of each sample; None where only the device knows."""
    prompt = layout.prompt
    if all(len(counts) < 2 for counts in prompt.image_counts):
        return tuple((count,) for count in kept_visual)
    if pool == "sample" or (any(spared) and not prompt.images_in_order):
        return None

    images = [[0] * len(counts) for counts in prompt.image_counts]
    for choice in choices:
        for of_pool in choice.group.pools:
            images[of_pool.sample][of_pool.image] = choice.kept
    for of_sample, more in zip(images, spared, strict=True):
        if more:
            of_sample[-1] += more

    return tuple(map(tuple, images))


def _spare_last(layout: Layout, stay: Tensor) -> list[int]:
    """Keep the last row of every prompt: its logits are the answer, even if it is a visual one.

    Returns:
        How many rows this adds, per sample. Only a prompt that ends with its image waits for the
        device here.
    """
    spared = [0] * layout.batch
    samples = [b for b, ends in enumerate(layout.prompt.ends_with_image) if ends]
    if not samples:
        return spared

    last = [layout.instruction_rows(sample) for sample in samples]
    flags = [stay[sample, rows] for sample, rows in zip(samples, last, strict=True)]
    (stays,) = to_host([torch.cat(flags)])
    for sample, rows, already in zip(samples, last, stays.tolist(), strict=True):
        stay[sample, rows] = True
        spared[sample] = 0 if already else 1

    return spared


def _groups(
    step: Step, state: Pass, boundary: int, pools: list[PoolRows]
) -> Iterator[tuple[PoolGroup, Stage]]:
    """Pools of equal size that keep equally many tokens, and what is planned for them."""
    planned = [(pool, _planned(step, boundary, state, pool)) for pool in pools]
    return grouped(planned, together=step.takes_groups)


def _choose(step: Step, state: Pass, batch: StageInput, group: PoolGroup, stage: Stage) -> Choice:
    """Let the method choose among the tokens of a group of pools."""
    method: Any = step.method
    view = batch.view(step, group, stage)

    if step.in_front:
        selection = method.select(view)
    else:
        carry = state.carries.get(step.number)
        if carry is not None:
            carry = group.of(carry) if step.takes_groups else group.of(carry)[0]
        selection = method.select(view, carry)

    if not step.takes_groups:
        selection = _with_leading(selection)

    keep = check_keep(state, method, selection.keep, stage.count, group.pools[0].count)
    # in front of the language model NaN is expected: newline tokens have no patch and no saliency
    if "score" in selection.scores and not step.in_front:
        state.record.note_scores(
            method.name, f"boundary {batch.boundary}", selection.scores["score"]
        )

    if keep is not selection.keep:
        selection = replace(selection, keep=keep)

    return Choice(group, selection)


def _with_leading(selection: Selection) -> Selection:
    """The selection of one pool as that of a group of one."""
    features = selection.features
    bias = selection.key_bias
    order = selection.order

    return Selection(
        keep=selection.keep[None],
        features=None if features is None else features[None],
        scores={name: score[None] for name, score in selection.scores.items()},
        key_bias=None if bias is None else bias[None],
        order=None if order is None else order[None],
    )


def _planned(step: Step, boundary: int, state: Pass, pool: PoolRows) -> Stage:
    """What to keep of a pool, planned from the number of tokens when this method first met it."""
    here = pool.count
    # ratios refer to the tokens in front of this method, not to those in front of this stage
    key = (step.number, pool.sample, pool.image)
    if key not in state.totals:
        state.totals[key] = here
        note = step.surplus(here)
        if note is not None:
            state.record.note(note)

    total = state.totals[key]
    stage = step.planned(boundary, total)

    if stage.rounded_up:
        state.record.note(
            f"{step.method.name} at boundary {boundary}: the share of {total} tokens rounds to 0; "
            "kept 1"
        )

    # fewer arrive than planned where an earlier stage kept less than its upper bound (`at_most`)
    return stage if stage.count <= here else replace(stage, count=here)
