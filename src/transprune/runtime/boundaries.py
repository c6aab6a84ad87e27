"""The boundaries of a session: which method acts where, and what it does to the running rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from transprune.core.layout import Layout, gather_rows
from transprune.errors import MethodError
from transprune.methods.common.method import Positions
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.pools import Pool
from transprune.runtime.record import RecordedStage
from transprune.runtime.stage import StageInput, Step, run_stage
from transprune.runtime.stage_result import StageResult
from transprune.runtime.taps.base import Pruning, Setup, Signals, Tap

CHOSEN = "chosen"  # (this, boundary) -> what was chosen inside the layer in front of it


class Boundaries:
    """Runs the stage in front of a decoder layer.

    Args:
        setup: model and method.
        policies: position policy of each step of the method.
        pool: whether a sample's visual tokens are ranked together, image by image or frame by frame.
        taps: what the steps read.
    """

    def __init__(
        self, setup: Setup, policies: Sequence[Positions], pool: Pool, taps: Sequence[Tap]
    ) -> None:
        self._taps = taps
        self._records_scores = "scores" in setup.record
        # layers that read the keys of another one -> that one
        kinds = enumerate(setup.kinds)
        self._keys_of = {index: k.keys_of for index, k in kinds if k.keys_of is not None}

        # boundary -> the step that acts there, and its position policy
        self._steps: dict[int, tuple[Step, Positions]] = {}
        pairs = zip(setup.method.steps, policies, strict=True)
        for number, (method, policy) in enumerate(pairs):
            step = Step(number, method, setup.depth, pool, setup.moves)
            for reading in method.reads_at(setup.depth):
                self._steps[setup.moved(reading.boundary)] = (step, policy)

        self.first = min(self._steps, default=setup.depth)

    def __contains__(self, index: int) -> bool:
        """Whether some step acts in front of decoder layer `index`."""
        return index in self._steps

    def __iter__(self) -> Iterator[int]:
        return iter(self._steps)

    def prune(self, state: Pass, call: LayerCall) -> Tensor:
        """Run the stage in front of this layer; the hidden states of the rows that stay.

        Raises:
            MethodError: keys are weighed that a later layer reads of an earlier one.
        """
        step, policy = self._steps[call.index]
        before = state.layout
        assert before is not None

        chosen = state.captured.pop((CHOSEN, call.index), None)
        result, signals = chosen or self._run(state, call)
        if result.changes_nothing:
            self._record(state, step, call.index, result, before, before)
            return call.hidden

        # from here on, `before` describes the rows that arrived and `after` those that stay
        index, after = result.survivors()
        rows = index
        # kept positions belong to the tokens, so only new ones can follow another order
        if policy == "renumber" and result.reorders:
            rows = self._rows(state, step, result, index)
            after = after.in_order(before, rows)

        state.layout = after
        state.pruned = True
        state.row_version += 1
        state.record.widths[call.index] = index.shape[1]
        self._record(state, step, call.index, result, before, after)
        state.renumbering.follow(before, after, index, closes=policy == "renumber")
        state.numberings.append((call.index, replace(state.renumbering)))
        if result.has_biases:
            self._check_weighing(step, call.index)
            state.add_key_bias(before, result)
        for tap in self._taps:
            tap.prune(state, Pruning(call, before, result, rows, signals))

        return gather_rows(result.with_merged(call.hidden), rows)

    def choose(self, state: Pass, call: LayerCall) -> Tensor | None:
        """Choose for the boundary in front of `call` ahead of it, inside the layer in front.

        `call` holds the rows that run in that layer.

        Returns:
            long [B, P], the rows that stay; None where all of them do.
        """
        result, signals = self._run(state, call)
        state.captured[CHOSEN, call.index] = result, signals
        return None if result.changes_nothing else result.survivors()[0]

    def _run(self, state: Pass, call: LayerCall) -> tuple[StageResult, Signals]:
        """What the step of this boundary chooses, and what it was offered."""
        step, _ = self._steps[call.index]
        assert state.layout is not None

        # signals are functions: what no method calls is never computed
        signals: Signals = {}
        for tap in self._taps:
            tap.offer(state, call, signals)
        batch = StageInput(call.index, state.layout, call.hidden, signals)
        return run_stage(step, state, batch), signals

    def _rows(self, state: Pass, step: Step, result: StageResult, index: Tensor) -> Tensor:
        """The survivors `index` [B, P], in the order of their method where it has one.

        Raises:
            MethodError: keys are weighed by their slots, which an order of rows would exchange.
        """
        if state.key_bias is not None or result.has_biases:
            raise MethodError(
                f"{step.method.name} orders its tokens anew, and this session weighs keys by their "
                "place; use order='in_place'"
            )
        return result.in_own_order(index)

    def _check_weighing(self, step: Step, boundary: int) -> None:
        """Raise MethodError if a layer behind the boundary reads keys stored in front of it."""
        behind = [index for index, owner in self._keys_of.items() if owner < boundary <= index]
        if behind:
            raise MethodError(
                f"{step.method.name} weighs keys from boundary {boundary} on, but decoder layer "
                f"{behind[0]} reads those that layer {self._keys_of[behind[0]]} has stored "
                f"unweighed; let it act at boundary {self._keys_of[behind[0]]} or earlier"
            )

    def _record(
        self,
        state: Pass,
        step: Step,
        boundary: int,
        result: StageResult,
        before: Layout,
        after: Layout,
    ) -> None:
        """Note the stage for the trace."""
        scores = []
        if self._records_scores:
            for choice in result.choices:
                own = choice.selection.scores
                named = {name: score.detach().float() for name, score in own.items()}
                images = tuple(pool.image for pool in choice.group.pools)
                scores.append((choice.group.samples, images, named))

        state.record.stages.append(
            RecordedStage(boundary, step.method.name, before, after, tuple(scores))
        )
