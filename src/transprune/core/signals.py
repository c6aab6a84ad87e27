"""What a method may read of a model, and how it announces it.

A method announces everything it reads in one place (`Method.reads`), and only that is tapped and
computed. Signals of the vision tower are tensors whose rows are the visual tokens, whatever a
family does to crop, reorder or pack them:

    saliency        [N]     attention a patch receives in the layer whose output becomes the
                            features: from the CLS token where the tower has one, else the mean
                            over all patches
    keys            [N, d]  keys of that attention, mean over heads
    early_saliency  [N]     the same as saliency a quarter up the tower (VScan)
    outer_saliency  [N]     the same one layer further out, all heads as one (PruMerge)
    outer_keys      [N, V]  keys of that attention at full width
    context_saliency  [N]   attention a patch receives from the most attended patches of its input,
                            VFlowOpt's map; a function of that name makes the signal's
    place           [N, 2]  row and column in the grid of the token's crop
    grid            [N, 2]  rows and columns of that grid
    picture                 no tensor: allows `encode`
    tiles                   no tensor: allows `tiles`, where each crop lies in its picture

Behind a boundary of the language model a signal is that of the patch whose place a token has, also
where the token was made of several.

Rows without a patch (newline tokens of LLaVA-NeXT) are NaN in the scores, 0 in the keys, -1 in the
whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from transprune.core.plan import Rows, Source
from transprune.errors import MissingSignal

# all but "picture" and "tiles" are computed by a family, by name (`Family.vision_signal`)
SIGNALS = (
    "saliency",
    "keys",
    "early_saliency",
    "outer_saliency",
    "outer_keys",
    "context_saliency",
    "place",
    "grid",
    "picture",
    "tiles",
)
WITHOUT_ROWS = frozenset({"picture", "tiles"})
CONTEXT = "context_saliency"

Question = Literal["if available", "required"]


def context_saliency(threshold: float) -> str:
    """The name of VFlowOpt's signal: context is what receives over `threshold` times the mean."""
    return f"{CONTEXT}>{float(threshold)!r}"


def threshold_of(name: str) -> float | None:
    """The threshold in a name of `context_saliency`; None for any other signal."""
    kind, sign, threshold = name.partition(">")
    return float(threshold) if kind == CONTEXT and sign else None


def kind_of(name: str) -> str:
    """The name without a threshold: one of `SIGNALS`."""
    return CONTEXT if threshold_of(name) is not None else name


def is_signal(name: str) -> bool:
    """Whether a family knows a signal of that name."""
    return (name in SIGNALS and name != CONTEXT) or threshold_of(name) is not None


@dataclass(frozen=True)
class Tile:
    """Where a tower input lies in its picture.

    Attributes:
        picture: number of the picture, that of its first crop in the pool.
        row, column: place among the tiles; -1 for the view of the whole picture.
        rows, columns: tiles down and across; 1 and 1 for a picture that was not cut, 0 and 0 where
            nothing tells how it was cut, or whether it was.
    """

    picture: int
    row: int
    column: int
    rows: int
    columns: int

    @property
    def is_overview(self) -> bool:
        """It shows the whole of a picture that was cut into tiles as well."""
        return self.row < 0 and self.rows > 0


@dataclass(frozen=True)
class Reads:
    """Everything a method reads of a model besides the hidden states of its candidates.

    Attributes:
        vision: signals of the vision tower, names of `SIGNALS` (or `context_saliency(t)`).
        question: the question in CLIP's joint space (`ProjectorView.joint`): `"if available"`
            accepts a model without CLIP, `"required"` refuses it; None does not read the question.
        rows: whose attention rows are read at a boundary: `"instruction"` (every token after the
            image), `"last"`, `"mean"` (one query, the mean of those up to the last visual token,
            and the keys of the same rows), `"all"` (the visual tokens and the instruction, for
            `view.received()`), or None.
        source: `"next"` reads the layer behind the boundary, `"previous"` the one in front of it.
        embeddings: the visual and instruction tokens as they entered layer 0.
        signals: names of further taps (`runtime.taps`), read with `view.read(name)`.
        inside: the choice is made inside the layer in front of the boundary, behind its attention
            (`source="previous"`), so that its MLP runs on the survivors only. `view.hidden` is then
            the output of its heads.
    """

    vision: tuple[str, ...] = ()
    question: Question | None = None
    rows: Rows | None = None
    source: Source = "next"
    embeddings: bool = False
    signals: tuple[str, ...] = ()
    inside: bool = False


@dataclass(frozen=True)
class VisionSignals:
    """Signals of the vision tower for one pool. Shapes: N tokens, V width of the tower.

    Attributes:
        crop: long [N], tower input (image, tile or frame) a token came from, numbered from 0 in the
            order of the tokens; -1 for none. A picture that is in the prompt twice is one input.
        signals: the announced signals by name; read them as `vision["saliency"]`.
        cls: [crops, D], the projected CLS state of each tower input, or None.
        states: [N, V], the projector's input rows, or None where it merges patches (Qwen2.5-VL).
        project: the projector, [n, V] -> [n, D]; goes with `states`.
        encode: (crop, rows, columns) -> [rows * columns, D], the features of that crop's picture
            resized to a smaller grid and sent through tower and projector again; None unless
            `"picture"` was announced.
        find_tiles: -> one `Tile` for each crop; None unless `"tiles"` was announced.
        whole: the signals of all tokens that the pool had, where some were dropped; else None.
        arrays: `"crop"`, `"place"` and `"grid"` on the host, as far as they are known there; read
            them with `on_host`.
    """

    crop: Tensor
    signals: Mapping[str, Tensor] = field(default_factory=dict)
    cls: Tensor | None = None
    states: Tensor | None = None
    project: Callable[[Tensor], Tensor] | None = None
    encode: Callable[[int, int, int], Tensor] | None = None
    find_tiles: Callable[[], tuple[Tile, ...]] | None = None
    whole: VisionSignals | None = None
    arrays: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def patches(self) -> NDArray[np.int64]:
        """Positions of the tokens that show a patch, ascending [n], on the host."""
        return (self.on_host("crop") >= 0).nonzero()[0]

    def of(self, places: Tensor) -> VisionSignals:
        """The same of the tokens at `places` [n] long; crops keep their numbers.

        What is known of them on the host is not handed on: which they are only the device knows.
        """
        return replace(
            self,
            whole=self.unpruned,
            crop=self.crop[places],
            signals={name: signal[places] for name, signal in self.signals.items()},
            states=None if self.states is None else self.states[places],
            arrays={},
        )

    @property
    def unpruned(self) -> VisionSignals:
        """The signals of all tokens that the pool had before any was dropped."""
        return self if self.whole is None else self.whole

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """Where each crop lies in its picture.

        Raises:
            MissingSignal: the method did not announce it, or tiles are missing from the prompt.
        """
        if self.find_tiles is None:
            raise MissingSignal(
                "a method that reads 'tiles' announces it in `reads`; this one did not"
            )
        return self.find_tiles()

    def on_host(self, name: str) -> NDArray[np.int64]:
        """`"crop"`, `"place"` or `"grid"` on the host, so that tokens can be counted there.

        Waits for the device in signals that were made by hand.
        """
        if name not in self.arrays:
            table = self.crop if name == "crop" else self[name]
            own: NDArray[np.int64] = table.numpy(force=True)
            return own
        return self.arrays[name]

    def __getitem__(self, name: str) -> Tensor:
        """The signal of that name, one row per token.

        Raises:
            MissingSignal: the method did not announce it.
        """
        if name not in self.signals:
            raise MissingSignal(
                f"a method that reads {name!r} announces it in `reads`; this one did not"
            )
        return self.signals[name]


@dataclass(frozen=True)
class JointSpace:
    """Patches and question in CLIP's joint space: patch states and the text tower's output.

    Attributes:
        patches: float32 [N, P].
        question: float32 [M, P], one row per segment of the question that fits the text tower;
            nearly always one.
    """

    patches: Tensor
    question: Tensor
