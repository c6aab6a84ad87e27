"""What was kept, where and why. The only thing cost, report, benchmark and server read.

A trace is frozen: it describes the last prefill of a session, on the CPU, and holds no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch import Tensor

from transprune.core.evicted import TraceEviction as TraceEviction
from transprune.core.evicted import eviction_lines
from transprune.core.kept import Clips, finite, frame_lines, kept_per_frame, stage_lines
from transprune.core.kept import TraceStage as TraceStage
from transprune.core.plan import Eviction, Reading, Rows, Stage, cached_per_layer, per_layer
from transprune.cost.count import Convention, Cost, count_cost, sum_costs
from transprune.cost.geometry import Geometry

if TYPE_CHECKING:
    import os

    from PIL import Image


@dataclass(frozen=True)
class Trace:
    """The last prefill of a session.

    Attributes:
        method: the method as its `repr`.
        family: name of the model family.
        positions: what happened to position ids, `"keep"` or `"renumber"`, per part joined by `+`.
        visual_tokens: visual tokens of each sample before pruning.
        text_tokens: other prompt tokens of each sample, padding excluded.
        instruction_tokens: those of them after the last visual token.
        stages: what happened at each boundary; empty where nothing was pruned.
        kv_lengths: entries of each decoder layer's K/V after the prefill (fillers and earlier turns
            included).
        kv_bytes: bytes of all of them, keys and values, whole batch.
        notes: sentences a reader should know: schedules scaled, prompts without image, counts
            rounded up.
        geometry: sizes of the language model.
        readings: what the method read to choose, for the cost.
        frozen: 0-based layers in which visual tokens kept their state and only gave keys and
            values.
        transitions: with `record=("transitions",)`: (1-based layer, `"attention"` or `"mlp"`) ->
            per sample, float32 [L], the token transition variation of that module for every prompt
            token; NaN on padding and for tokens that were gone.
        changes: with `record=("changes",)`: the same keys for *every* layer -> per sample, float32
            [2, L], norm of the module's output over norm of its normalised input, and the cosine
            between the two (TransPrune, equations 1 and 2, before any weighting); NaN as above. Too
            many numbers for `to_dict`, which leaves them out.
        dtype, attention: of the language model, as text.
        dtype_bytes: bytes of one number of its K/V.
        evictions: what heads kept of the visual keys of each layer behind the prefill; empty where
            the cache holds what ran.
        evicted_by: whose attention rows chose those keys, for the cost.
        frames: per sample, per picture or video in the order of the prompt, the visual tokens of
            each frame; a still picture is one frame. Empty for a sample whose pictures stand
            between each other's tokens.
    """

    method: str
    family: str
    positions: str
    visual_tokens: tuple[int, ...]
    text_tokens: tuple[int, ...]
    instruction_tokens: tuple[int, ...]
    stages: tuple[TraceStage, ...]
    kv_lengths: tuple[int, ...]
    kv_bytes: int
    notes: tuple[str, ...]
    geometry: Geometry
    readings: tuple[Reading, ...] = ()
    frozen: tuple[int, ...] = ()
    transitions: Mapping[tuple[int, str], tuple[Tensor, ...]] = field(default_factory=dict)
    changes: Mapping[tuple[int, str], tuple[Tensor, ...]] = field(default_factory=dict)
    dtype: str = "float32"
    dtype_bytes: int = 4
    attention: str = "sdpa"
    frames: tuple[Clips, ...] = ()
    evictions: tuple[TraceEviction, ...] = ()
    evicted_by: Rows | None = None

    def kept_per_frame(self, sample: int = 0) -> tuple[Clips, ...]:
        """Tokens that stayed of each frame: per stage, per picture or video, per frame.

        Empty where the trace does not tell frames apart (`frames`).
        """
        clips = self.frames[sample] if self.frames else ()
        return kept_per_frame(self.stages, clips, sample)

    def tokens_per_layer(self, sample: int = 0) -> tuple[int, ...]:
        """Visual tokens of one sample that entered each decoder layer."""
        stages = tuple(Stage(stage.boundary, len(stage.keep[sample])) for stage in self.stages)
        return per_layer(self.geometry.layers, self.visual_tokens[sample], stages)

    def cost(self, convention: Convention = "exact") -> Cost:
        """FLOPs and K/V bytes of the batch as it was really pruned, beside the unpruned run.

        Args:
            convention: `"paper"` (visual tokens only, MACs) or `"exact"` (all tokens, GQA, scoring
                included).
        """
        samples = range(len(self.visual_tokens))
        return sum_costs([self.sample_cost(sample, convention) for sample in samples])

    def sample_cost(self, sample: int, convention: Convention = "exact") -> Cost:
        """The same for one `sample` of the batch, by `convention`; padding is not counted."""
        visual = self.visual_tokens[sample]
        # a prompt without an image ran unpruned, and nothing was read to choose tokens
        readings = self.readings if visual else ()

        return count_cost(
            self.geometry,
            self.tokens_per_layer(sample),
            self.text_tokens[sample],
            unpruned=visual,
            convention=convention,
            readings=readings,
            frozen=self.frozen,
            evictions=self._evictions(sample),
            instruction=self.instruction_tokens[sample],
            dtype_bytes=self.dtype_bytes,
        )

    def cached_per_layer(self, sample: int = 0) -> tuple[int, ...]:
        """Visual keys of one sample that each head of each decoder layer has in the cache."""
        return cached_per_layer(self.tokens_per_layer(sample), self._evictions(sample))

    def _evictions(self, sample: int) -> tuple[Eviction, ...]:
        """What stayed of one sample, for the cost."""
        return tuple(
            Eviction(eviction.layer, (eviction.counts[sample],), self.evicted_by)
            for eviction in self.evictions
            if self.visual_tokens[sample]
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping; transitions as lists with None for dropped tokens."""
        data = {
            "schema": 1,
            "method": self.method,
            "family": self.family,
            "positions": self.positions,
            "dtype": self.dtype,
            "attention": self.attention,
            "visual_tokens": list(self.visual_tokens),
            "text_tokens": list(self.text_tokens),
            "instruction_tokens": list(self.instruction_tokens),
            "frames": [[list(clip) for clip in clips] for clips in self.frames],
            "stages": [stage.to_dict() for stage in self.stages],
            "frozen": list(self.frozen),
            "kv_lengths": list(self.kv_lengths),
            "kv_bytes": self.kv_bytes,
            "cost": {"paper": self.cost("paper").to_dict(), "exact": self.cost("exact").to_dict()},
            "notes": list(self.notes),
        }

        if self.evictions:
            data["evictions"] = [eviction.to_dict() for eviction in self.evictions]

        # many numbers, so only where they were asked for
        if self.transitions:
            data["transitions"] = _transitions(self.transitions)

        return data

    def to_json(self, indent: int | None = None) -> str:
        """The trace as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def plot(
        self,
        pictures: Any,
        *,
        sample: int = 0,
        grid: tuple[int, int] | None = None,
        cropped: bool = True,
        path: str | os.PathLike[str] | None = None,
    ) -> Image.Image:
        """Draw which patches of the picture stayed at each boundary; the others are dimmed.

            session.trace.plot(Image.open("photo.jpg"), path="kept.png")

        Args:
            pictures: the picture of the prompt, or all of them in order; PIL images or files.
            sample: number of the prompt in its batch.
            grid: rows and columns of each picture's tokens, where they are known better than from
                their number.
            cropped: the processor cuts a picture to its centre, as LLaVA-1.5's does.
            path: file to write as well; its suffix chooses the format.

        Returns:
            One row per picture: the picture, then a panel per boundary.

        Raises:
            LayoutError: no such sample, a prompt without a picture, or pictures and grid that its
                tokens do not fit.
            ImageError: a picture that cannot be read, or a file that cannot be written.
        """
        # drawing builds on the trace and never the other way round, so it is found by name, and
        # only when it is asked for: reading a trace needs no Pillow
        drawing = import_module("transprune.report.plot")
        sheet: Image.Image = drawing.plot_trace(
            self, pictures, sample=sample, grid=grid, cropped=cropped, path=path
        )
        return sheet

    def __str__(self) -> str:
        lines = [
            self.method,
            f"{self.family}, {self.dtype}, {self.attention}, positions: {self.positions}",
        ]
        if self.stages:
            lines += stage_lines(self.stages)

        lines += frame_lines(self.stages, self.frames[0] if self.frames else ())
        if self.frozen:
            lines.append(f"visual tokens frozen in layers {', '.join(map(str, self.frozen))}")

        lines += eviction_lines(self.evictions, self.visual_tokens)

        # both conventions, because papers count visual tokens only
        paper = self.cost("paper")
        exact = self.cost("exact")
        lines += [
            f"work of reading the prompt: {exact.prefill_share:.1%} of unpruned, all tokens and "
            f"choosing them counted (exact); {paper.prefill_share:.1%} as papers count (paper)",
            f"memory for its keys and values (K/V): {self.kv_bytes / 2**20:.2f} MiB, "
            f"{exact.kv_share:.1%} of unpruned",
        ]

        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def _transitions(
    transitions: Mapping[tuple[int, str], tuple[Tensor, ...]],
) -> dict[str, list[list[float | None]]]:
    """`"7.mlp"` -> per sample, one number per prompt token."""
    data = {}
    for (layer, module), samples in transitions.items():
        data[f"{layer}.{module}"] = [finite(values) for values in samples]
    return data
