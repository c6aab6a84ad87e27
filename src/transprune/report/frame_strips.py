"""Draw what was kept of a video: one strip per stage, with a panel for each frame.

A frame of the language model may stand for several pictures of the video (two with Qwen's temporal
patches); the first of them is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from transprune.families.base import Grid
from transprune.families.videos import grid_of_frame
from transprune.report.overlay import Panel, as_seen, draw_kept, draw_row, draw_tokens
from transprune.trace import Trace


@dataclass(frozen=True)
class FrameStrip:
    """One stage of a video.

    Attributes:
        title: above the row.
        pictures: one per frame.
        grid: where the tokens of every frame lie, or None where this is not known.
        panels: what was kept of each frame.
        totals: visual tokens of each frame.
    """

    title: str
    pictures: tuple[Image.Image, ...]
    grid: Grid | None
    panels: tuple[Panel, ...]
    totals: tuple[int, ...]

    def draw(self) -> Image.Image:
        """The title, then the frames side by side with their captions."""
        images = []
        rows = zip(self.pictures, self.panels, self.totals, strict=True)
        for picture, panel, total in rows:
            if self.grid is None:
                images.append(draw_tokens(total, panel.keep))
            else:
                images.append(draw_kept(as_seen(picture, self.grid), self.grid, panel.keep))
        return draw_row(self.title, images, [panel.caption for panel in self.panels])


def frame_strips(
    trace: Trace,
    title: str,
    pictures: Sequence[Image.Image],
    frames: Sequence[int],
    first: int,
    grid: Grid | None,
) -> Iterator[FrameStrip]:
    """One strip per stage for one video of the first sample.

    Args:
        trace: of a pruned prefill.
        title: above the first strip; the others say which layer they begin at.
        pictures: the pictures of the video that the model was shown.
        frames: visual tokens of each frame.
        first: number of the video's first visual token within the sample.
        grid: where the tokens of every frame lie.
    """
    shown = _one_per_frame(pictures, len(frames))
    for number, stage in enumerate(trace.stages):
        kept = stage.keep[0].tolist()
        panels = []
        start = first
        for frame, tokens in enumerate(frames):
            own = [token - start for token in kept if start <= token < start + tokens]
            panels.append(Panel(own, f"frame {frame + 1}\n{len(own)} of {tokens} kept"))
            start += tokens

        where = f"from layer {stage.boundary} on"
        heading = f"{title}, {where}" if number == 0 else where
        yield FrameStrip(heading, shown, grid, tuple(panels), tuple(frames))


def find_frame_grid(
    config: Any, inputs: Mapping[str, Any], video: int, frames: Sequence[int]
) -> Grid | None:
    """The grid of a video's frames; a token more in the last one (a newline) has no place."""
    return grid_of_frame(config, inputs, video, frames[0])


def _one_per_frame(pictures: Sequence[Image.Image], frames: int) -> tuple[Image.Image, ...]:
    """The first picture of each frame; the last one again where the model repeated it."""
    step = -(-len(pictures) // frames)  # rounded up
    last = len(pictures) - 1
    return tuple(pictures[min(frame * step, last)] for frame in range(frames))
