"""One stage: give the method its views, collect what it chooses, and say which rows remain."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.plan import Stage
from transprune.core.views import LayerView, ProjectorView, Selection, View
from transprune.errors import MethodError, PruneWarning
from transprune.methods.common.method import LayerPruner, Method, ProjectorPruner
from transprune.methods.common.surplus import surplus_note
from transprune.runtime.choices import (
    Choice,
    joined_bias,
    merged_features,
    scores_of,
    trace_stage,
)
from transprune.runtime.forward_pass import Pass
from transprune.runtime.stage_result import StageResult
from transprune.runtime.taps.base import PoolRows, Signals

Pool = Literal["sample", "image"]


@dataclass(frozen=True)
class Step:
    """One method of the session, with what it needs at its boundaries.

    Attributes:
        number: place of the method among the steps of the session.
        method: the method.
        num_layers: depth of the model.
        pool: whether a sample's visual tokens are ranked together or image by image.
    """

    number: int
    method: Method
    num_layers: int
    pool: Pool


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

    def view(self, method: Method, pool: PoolRows, stage: Stage) -> View:
        """The view of one pool, of which `stage.count` tokens are to be kept."""
        # bound to the pool here, computed when the method reads them
        signals = {name: partial(signal, pool) for name, signal in self.signals.items()}

        shared: dict[str, Any] = {
            "boundary": self.boundary,
            "count": stage.count,
            "candidates": self.layout.token[pool.sample, pool.rows],
            "_hidden": lambda: pool.states,
            "merged": stage.merged,
            "signals": signals,
        }

        if isinstance(method, ProjectorPruner):
            words = self.layout.instruction[pool.sample]
            shared["_instruction"] = lambda: self.hidden[pool.sample, words]
            return ProjectorView(**shared)
        return LayerView(**shared)


def run_stage(step: Step, state: Pass, batch: StageInput, record_scores: bool) -> StageResult:
    """Run the method of `step` on every pool of every sample."""
    layout = batch.layout
    dropped: list[Tensor] = []
    features: list[Tensor | None] = []
    biases: list[Tensor | None] = []
    candidates: list[Tensor] = []
    keep: list[Tensor] = []
    scores: list[dict[str, Tensor]] = []

    for sample in range(layout.batch):
        visual = layout.visual_rows(sample)
        choices = [
            _choose(step, state, batch, pool) for pool in _pools(batch, sample, visual, step.pool)
        ]

        # all rows at first; text is spared because only visual rows are looked up below
        goes = torch.ones(layout.rows_total, dtype=torch.bool, device=visual.device)
        for choice in choices:
            goes[choice.kept] = False
        # the logits of the last token are the answer, even if it is a visual one
        goes[layout.prompt_rows(sample)[-1:]] = False
        stay = visual[~goes[visual]]

        dropped.append(visual[goes[visual]])
        features.append(merged_features(choices, stay, batch.hidden[sample]))
        biases.append(joined_bias(choices, stay))
        # numbers of the visual tokens within the sample, which later stages keep
        candidates.append(layout.token[sample, visual].cpu())
        keep.append(layout.token[sample, stay].cpu())
        scores.append(scores_of(choices, visual) if record_scores else {})

    trace = trace_stage(batch.boundary, step.method, candidates, keep, scores)
    return StageResult(dropped, features, biases, trace)


def _pools(batch: StageInput, sample: int, visual: Tensor, pool: Pool) -> Iterator[PoolRows]:
    """The pools of a sample; nothing for a sample without visual tokens."""
    layout = batch.layout
    if len(visual) == 0:
        return
    if pool == "sample":
        yield PoolRows(layout, sample, -1, visual, batch.hidden)
        return

    # each image keeps its own share, so that a large one cannot crowd out a small one
    image = layout.image[sample, visual]
    for number in image.unique().tolist():
        yield PoolRows(layout, sample, number, visual[image == number], batch.hidden)


def _choose(step: Step, state: Pass, batch: StageInput, pool: PoolRows) -> Choice:
    """Let the method choose among the tokens of one pool."""
    method = step.method
    stage = _planned(step, batch.boundary, state, pool)
    view = batch.view(method, pool, stage)

    if isinstance(method, ProjectorPruner):
        assert isinstance(view, ProjectorView)
        selection = method.select(view)
    else:
        assert isinstance(method, LayerPruner)
        assert isinstance(view, LayerView)
        selection = method.select(view, _visual_carry(state, step.number, pool))

    _check(method, selection, stage.count, len(pool.rows))
    _warn_not_finite(method, batch.boundary, selection, state)
    return Choice(pool.rows, selection)


def _planned(step: Step, boundary: int, state: Pass, pool: PoolRows) -> Stage:
    """What to keep of a pool, planned from the number of tokens when this method first met it."""
    here = len(pool.rows)
    # ratios refer to the tokens in front of this method, not to those in front of this stage
    key = (step.number, pool.sample, pool.image)
    if key not in state.totals:
        state.totals[key] = here
        note = surplus_note(step.method, step.num_layers, here)
        if note is not None:
            state.record.note(note)
    total = state.totals[key]
    plan = step.method.plan(step.num_layers, total)
    stage = next(stage for stage in plan if stage.boundary == boundary)

    if stage.rounded_up:
        state.record.note(
            f"{step.method.name} at boundary {boundary}: the share of {total} tokens rounds to 0; "
            "kept 1"
        )
    # fewer arrive than planned where an earlier stage kept less than its upper bound (`at_most`)
    return replace(stage, count=min(stage.count, here))


def _visual_carry(state: Pass, number: int, pool: PoolRows) -> Tensor | None:
    """The carried evidence of the pool's tokens. float32 [N]."""
    if number not in state.carries:
        return None
    carry = state.carries[number][pool.sample]
    # carries hold real rows only, so fillers in front are skipped
    return carry[torch.searchsorted(pool.layout.prompt_rows(pool.sample), pool.rows)]


def _check(method: Method, selection: Selection, count: int, total: int) -> None:
    """Raise MethodError unless 1..count distinct ascending positions out of `total` are kept.

    Our own methods are tested for this; a third party's bug must not become a wrong answer in
    silence.
    """
    keep = selection.keep
    ascending = len(keep) < 2 or bool((keep[1:] > keep[:-1]).all())
    fits = 0 < len(keep) <= count and ascending and int(keep[0]) >= 0 and int(keep[-1]) < total
    if not fits:
        raise MethodError(
            f"{method.name} must keep 1..{count} distinct ascending positions out of {total}; "
            f"it returned {keep.tolist()[:10]}"
        )


def _warn_not_finite(method: Method, boundary: int, selection: Selection, state: Pass) -> None:
    """Warn if a score of the language model is not a number."""
    # in front of the language model NaN is expected: newline tokens have no patch and no saliency
    score = selection.scores.get("score")
    if score is None or isinstance(method, ProjectorPruner) or bool(score.isfinite().all()):
        return

    message = (
        f"{method.name} at boundary {boundary}: scores are not finite (NaN or inf in the hidden "
        "states)"
    )
    state.record.note(f"{message}; those tokens rank last")
    warnings.warn(
        f"{message}; those tokens rank last, ties to the lower index", PruneWarning, stacklevel=2
    )
