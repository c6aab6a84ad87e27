"""The hooks of a session, and the work of those on the layers.

Nothing is written on the model: state lives in the running pass (one per thread) and in the cache
layers. Leaving removes every hook, also after an exception, because all of them hang on one
ExitStack.

    module         before                               after
    the models     see `runtime/passes.py`
    first layer    see whether layers need their hooks
    layer i        run the stage at boundary i,         (frozen layer) put the frozen rows back
                   project the layer's inputs           (cache) rank the keys it has stored
                                                        (last layer) restore the prompt's length
    parts of it    (cut inside) leave rows out          put zeros in their place

The taps (`runtime/taps`) have hooks of their own, only for methods that announce a signal. Hooks of
layers and taps are on the model while a forward needs them, and off in most steps of decoding.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.library import check_decoder_layer, warn_if_untested
from transprune.families.wrappers import unwrap
from transprune.methods.common.method import Positions
from transprune.runtime.added import AddedRows
from transprune.runtime.boundaries import Boundaries
from transprune.runtime.cache import prepare
from transprune.runtime.compiled import compiled_code_set_aside, warn_if_compiled
from transprune.runtime.eviction.evictor import Evictor
from transprune.runtime.forward_pass import Pass
from transprune.runtime.frozen import Freezer
from transprune.runtime.hooks import Hooks
from transprune.runtime.inside import InsideCuts
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.layer_inputs.project import (
    inputs_of_stage,
    inputs_unchanged,
    project_inputs,
)
from transprune.runtime.options import Options
from transprune.runtime.passes import Parts, Passes, switch_on
from transprune.runtime.rows import scatter_back
from transprune.runtime.static.decode import StaticDecode
from transprune.runtime.taps.attention.tap import AttentionTap
from transprune.runtime.taps.base import Setup, Tap
from transprune.runtime.taps.embeddings import EmbeddingTap
from transprune.runtime.taps.frames import FrameTap
from transprune.runtime.taps.instruction import InstructionTap
from transprune.runtime.taps.layer_rows import LayerRowsTap
from transprune.runtime.taps.question import QuestionTap
from transprune.runtime.taps.trained import TrainedTap
from transprune.runtime.taps.transitions import TransitionTap
from transprune.runtime.taps.vision.tap import VisionTap
from transprune.runtime.turns import Refresher

# every kind of signal; one may use those in front of it, as the question uses the vision tower
TAPS: tuple[type[Tap], ...] = (
    VisionTap,
    QuestionTap,
    FrameTap,
    EmbeddingTap,
    TransitionTap,
    LayerRowsTap,
    InstructionTap,
    TrainedTap,
    AttentionTap,
)


class Engine:
    """Runs a method inside one model.

    Args:
        setup: the model, the method, and what is recorded.
        policies: position policy of each step of the method.
        options: of the session. Their backend compiles decode steps on static caches too.
        publish: called with the finished Pass of every prefill, and its cache.

    Raises:
        MissingSignal: the method reads something that this model does not have.
    """

    def __init__(
        self,
        setup: Setup,
        policies: tuple[Positions, ...],
        options: Options,
        publish: Callable[[Pass, Any], None],
    ) -> None:
        self._setup = setup
        self._family = setup.family
        self._layers = setup.layers
        self._kinds = setup.kinds
        # layers of several kinds are given different masks, so none of them speaks for the others
        kinds = {(kind.type, kind.stores_keys) for kind in setup.kinds}
        self._alike = kinds == {(setup.kinds[0].type, True)}

        frozen = frozenset(setup.method.frozen(setup.depth))
        self._freezer = Freezer(self._layers, frozen)
        self._evictor = Evictor(setup, options.pool)
        self._added = AddedRows(self._family, self._layers)
        decoder = setup.family.decoder(setup.base)
        self._static = StaticDecode(decoder, setup.layers, options.backend)
        self._taps = [tap for kind in TAPS if (tap := kind.needed(setup)) is not None]
        if options.turns == "refresh":
            self._taps.append(Refresher(setup, lambda: self._passes.calls, self._taps))

        self._boundaries = Boundaries(setup, policies, options.pool, self._taps)
        self._inside = InsideCuts(setup, self._boundaries)

        # layers that get other arguments than the model's; the first one always has a hook
        first = self._boundaries.first
        self._hooked = sorted({0, *frozen, *range(first, setup.depth)})
        # those that only pass on what a stage in front of them left
        self._passing = frozenset(range(first, setup.depth)) - frozen - {*self._boundaries}

        parts = Parts(self._taps, self._evictor, self._added, self._static)
        self._passes = Passes(setup, parts, options.pool, self._hooked, first, publish)

    def attach(self, stack: ExitStack) -> None:
        """Register every hook; leaving `stack` removes them.

        Raises:
            FamilyError: a layer is inside a wrapper that pruning cannot look into.
            TransformersError: this release's layers do not take the arguments that pruning
                replaces.
        """
        warn_if_untested()
        for layer in self._layers:
            check_decoder_layer(layer)

        compiled = warn_if_compiled(self._setup.model)
        stack.enter_context(compiled_code_set_aside())
        hooks = self._hooks = Hooks(stack, self._passes.running, unwrap(self._setup.model))
        self._passes.attach(hooks, compiled=compiled)
        hooks.before(self._layers[0], self._before_first_layer)

        for index in range(1, len(self._layers)):
            group = hooks.layers if index in self._hooked else hooks.other_layers
            group.before(self._layers[index], partial(self._before_layer, index))

        self._freezer.attach(hooks)
        self._added.attach(hooks)
        self._static.attach(hooks, stack)
        hooks.layers.after(self._layers[-1], self._restore_length)

        # taps hang on other modules (tower, attention, MLP), so the order does not matter
        for tap in self._taps:
            tap.attach(hooks)

        # behind the taps: what they replace in a layer is what it computes
        self._evictor.attach(hooks)
        self._inside.attach(hooks)
        hooks.switch_on()

    def runs_here(self) -> bool:
        """Whether the calling thread is inside a forward that this engine prunes."""
        return self._passes.runs_here()

    def read_flags(self) -> None:
        """Read what checks of earlier passes left on the device.

        Raises:
            MethodError: a method of a third party returned no valid selection.
        """
        self._passes.read_flags()

    def _before_first_layer(self, layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """See what the layers need: nothing without an image, and on a cache without gaps."""
        # a compiled decode step holds the layers with their hooks, and this one has no work there
        if torch.compiler.is_compiling():
            return None

        state = self._passes.running()
        if state is None:
            return None

        follows = state.follows
        plain = prepare(state.cache) if follows else True
        # without fillers and biases, "no mask" is right for fewer keys too
        no_mask = self._alike and kwargs.get("attention_mask") is None
        fits = not follows or (plain and no_mask)
        if state.layout is None and fits:
            return None

        switch_on(state, self._hooks.layers)
        if follows:
            # another method may have pruned any layer of this cache
            switch_on(state, self._hooks.other_layers)
            state.hooked = range(len(self._layers))

        return self._before_layer(0, layer, args, kwargs)

    def _before_layer(self, index: int, layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run the stage in front of a layer, and give the layer the arguments of its rows."""
        state = self._passes.running()
        # another thread may have put on hooks that this pass does not need
        if state is None or index not in state.hooked:
            return None

        hidden = args[0] if args else kwargs["hidden_states"]
        kind = self._kinds[index]
        state.enter_layer(index, hidden.shape[1], may_be_cut=kind.keys_of is not None)
        if state.pruned and index in self._passing and kind.stores_keys:
            inputs = inputs_of_stage(state, index, kwargs)
            if inputs is not None:
                return self._row_arguments(state, args, hidden), inputs

        call = LayerCall(index, layer, kind, hidden, kwargs)
        # a later turn meets a pruned cache, but has nothing of its own to prune
        staged = state.layout is not None and index in self._boundaries
        if staged:
            hidden = self._boundaries.prune(state, call)
            call = LayerCall(index, layer, kind, hidden, kwargs)
        if index == 0 and state.layout is not None:
            for tap in self._taps:
                tap.enter(state, hidden)

        # the order matters: first rows are dropped, then the arguments are projected onto the rest,
        # then frozen rows are set aside
        freezes = self._freezer.has_work(state, index)
        if not inputs_unchanged(state, call):
            kwargs = project_inputs(state, call)
        elif not staged and not freezes:
            return None

        if freezes:
            hidden, kwargs = self._freezer.enter(state, call, kwargs)

        if args:
            return self._row_arguments(state, args, hidden), kwargs
        return args, {**kwargs, "hidden_states": hidden}

    def _row_arguments(self, state: Pass, args: Any, hidden: Tensor) -> Any:
        """Positional arguments of a layer, `hidden` first, for the rows that run."""
        own = [hidden, *args[1:]]
        for place in self._family.row_arguments:
            table = own[place] if place < len(own) else None
            if table is None or state.layout is None or table.shape[1] != state.length:
                continue  # a decoder that cut its rows has cut these too
            own[place] = state.of_rows(table)
        return tuple(own)

    def _restore_length(self, layer: nn.Module, args: Any, output: Any) -> Any:
        """Back to the prompt's length, so that logits, labels and positions keep their meaning."""
        state = self._passes.running()
        if state is None or not state.pruned or state.layout is None:
            return None

        if state.cut:
            return None  # logits are made of the last rows, which are the prompt's own

        hidden = output[0] if isinstance(output, tuple) else output
        full = scatter_back(state, state.layout, hidden)
        return (full, *output[1:]) if isinstance(output, tuple) else full
