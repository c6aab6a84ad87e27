"""Draw which patches of an image were kept: the others are dimmed.

A sheet has one strip per method: the image, then one panel per stage. Which token belongs to which
patch differs by family and is given by a `Grid`:

- LLaVA-1.5: a square grid over the centre of the image (the processor crops).
- Qwen2.5-VL: a grid over the whole image, one cell per 2 x 2 merged patches.
- LLaVA-NeXT: the first tokens are the square grid of the base view. Those of the tiles follow,
  unpadded and with newlines; they are counted in the caption but have no panel.
- Anything else has no grid: its tokens are drawn as a block of cells in prompt order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isqrt
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from transprune.families.base import Grid as Grid
from transprune.families.generic import family_of
from transprune.trace import Trace

# lengths in pixels
PANEL = 192  # longer side of a panel
GAP = 12  # between panels
LINE_HEIGHT = 18  # of a line of caption
TITLE_HEIGHT = LINE_HEIGHT + 8  # of the title of a strip

BACKGROUND = (255, 255, 255)
TITLE_COLOR = (28, 30, 34)
CAPTION_COLOR = (105, 110, 118)
KEPT_CELL = (64, 120, 200)
DROPPED_CELL = (218, 221, 226)

DIM_COLOR = (22, 24, 30)  # dropped patches are blended with this
DIM_WEIGHT = 0.78
GREY_WEIGHT = 0.22  # of the patch itself, in grey


@dataclass(frozen=True)
class Panel:
    """One stage of one image: the kept tokens, numbered within the image, and a caption."""

    keep: Sequence[int]
    caption: str


@dataclass(frozen=True)
class Strip:
    """One row of the sheet.

    Attributes:
        title: above the row.
        picture: the image.
        grid: where its tokens lie, or None where this is not known.
        panels: one per stage.
        total: visual tokens of the image.
    """

    title: str
    picture: Image.Image
    grid: Grid | None
    panels: tuple[Panel, ...]
    total: int

    def draw(self) -> Image.Image:
        """The row as a picture."""
        return draw_strip(self)


class Drawable(Protocol):
    """A row of the sheet: a `Strip`, or a strip of frames (`report.frame_strips`)."""

    def draw(self) -> Image.Image:
        """The row as a picture."""


def find_grid(
    config: Any, inputs: Mapping[str, Any], image: int, tokens: int, *, cropped: bool = False
) -> Grid | None:
    """The grid of one image of a prompt, or None where none is known.

    Args:
        config: the model's configuration.
        inputs: what its processor returned.
        image: number of the image in the prompt.
        tokens: visual tokens of that image.
        cropped: the processor crops to the centre.
    """
    family = family_of(config)
    return family.grid(config, inputs, image, tokens, cropped=cropped)


def as_seen(picture: Image.Image, grid: Grid | None) -> Image.Image:
    """The part of the image that the tokens cover, scaled to whole pixels per cell."""
    if grid is None:
        return picture.resize(_fit(*picture.size))

    if grid.cropped:
        picture = _centre_square(picture)

    cell = max(4, ceil(PANEL / max(grid.rows, grid.columns)))
    width = grid.columns * cell
    height = grid.rows * cell

    # small images keep their hard pixels, as the model gets them
    enlarged = width >= 2 * picture.width
    resampling = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    return picture.resize((width, height), resampling)


def stage_panels(
    trace: Trace, tokens: int | None = None, first: int = 0, sample: int = 0
) -> tuple[Panel, ...]:
    """One panel per stage for one image of one sample.

    Args:
        trace: of a pruned prefill.
        tokens: visual tokens of the image; None for all of the sample.
        first: number of its first visual token within the sample.
        sample: number of the prompt in its batch.
    """
    total = trace.visual_tokens[sample] if tokens is None else tokens

    panels = []
    for stage in trace.stages:
        kept = stage.keep[sample].tolist()
        own = [token - first for token in kept if first <= token < first + total]
        share = f"{100 * len(own) / total:.3g} %"
        caption = f"from layer {stage.boundary} on\n{len(own)} of {total} kept ({share})"
        panels.append(Panel(own, caption))
    return tuple(panels)


def draw_kept(picture: Image.Image, grid: Grid, keep: Iterable[int]) -> Image.Image:
    """The image with the cells in `keep` untouched and all others dimmed, at the same size."""
    pixels = np.asarray(picture.convert("RGB"))  # [height, width, 3]
    mask = _cell_mask(grid, keep)

    # the cell of every pixel: [rows, columns] -> [height, width]
    rows = np.arange(picture.height) * grid.rows // picture.height
    columns = np.arange(picture.width) * grid.columns // picture.width
    kept = mask[rows][:, columns]

    grey = pixels.mean(axis=2, keepdims=True)
    dimmed = GREY_WEIGHT * grey + DIM_WEIGHT * np.array(DIM_COLOR)
    return Image.fromarray(np.where(kept[..., None], pixels, dimmed.astype(np.uint8)))


def draw_tokens(total: int, keep: Iterable[int], cell: int = 0) -> Image.Image:
    """Tokens without a known place, as a block of cells in prompt order.

    Args:
        total: number of tokens.
        keep: those that were kept.
        cell: side of a cell in pixels; 0 to fill a panel.
    """
    columns = isqrt(max(0, total - 1)) + 1  # as square as possible
    rows = ceil(total / columns)
    cell = cell or max(3, PANEL // columns)

    block = Image.new("RGB", (columns * cell, rows * cell), BACKGROUND)
    draw = ImageDraw.Draw(block)
    kept = set(keep)
    for token in range(total):
        y, x = divmod(token, columns)
        # Pillow includes the last pixel, and one more is left free between cells
        box = (x * cell, y * cell, (x + 1) * cell - 2, (y + 1) * cell - 2)
        draw.rectangle(box, fill=KEPT_CELL if token in kept else DROPPED_CELL)
    return block


def draw_strip(strip: Strip) -> Image.Image:
    """One row: the title, then the image and its stages side by side with their captions."""
    seen = as_seen(strip.picture, strip.grid)
    images = [seen]
    captions = [_total_caption(strip)]
    for panel in strip.panels:
        if strip.grid is None:
            images.append(draw_tokens(strip.total, panel.keep))
        else:
            images.append(draw_kept(seen, strip.grid, panel.keep))
        captions.append(panel.caption)
    return draw_row(strip.title, images, captions)


def draw_row(title: str, images: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """A title, and below it images side by side, each with its caption of up to two lines."""
    width = GAP + sum(max(image.width, PANEL) + GAP for image in images)
    height = max(image.height for image in images)
    row = Image.new("RGB", (width, TITLE_HEIGHT + height + 4 + 2 * LINE_HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(row)
    draw.text((GAP, 4), title, fill=TITLE_COLOR, font=_font(14))

    left = GAP
    below = (TITLE_HEIGHT + height) + 3
    for image, caption in zip(images, captions, strict=True):
        row.paste(image, (left, TITLE_HEIGHT))
        draw.multiline_text((left, below), caption, fill=CAPTION_COLOR, font=_font(12), spacing=3)
        left += max(image.width, PANEL) + GAP
    return row


def draw_sheet(title: str, strips: Sequence[Drawable], subtitle: str = "") -> Image.Image:
    """Strips below each other under one title."""
    rows = [strip.draw() for strip in strips]
    head = GAP + 26
    if subtitle:
        head += LINE_HEIGHT

    widths = [row.width for row in rows]
    widths += [_text_width(title, 17) + 2 * GAP, _text_width(subtitle, 12) + 2 * GAP]
    height = head + sum(row.height for row in rows)
    sheet = Image.new("RGB", (max(widths), height), BACKGROUND)

    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, fill=TITLE_COLOR, font=_font(17))
    draw.text((GAP, GAP + 24), subtitle, fill=CAPTION_COLOR, font=_font(12))

    top = head
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _cell_mask(grid: Grid, keep: Iterable[int]) -> np.ndarray:
    """The kept cells as bool [rows, columns]; tokens without a place are left out."""
    mask = np.zeros(grid.cells, dtype=bool)
    for token in keep:
        if token < grid.cells:
            mask[int(token)] = True
    return mask.reshape(grid.rows, grid.columns)


def _total_caption(strip: Strip) -> str:
    grid = strip.grid
    if grid is None:
        return f"{strip.total} visual tokens\nstages: cells in prompt order"
    if grid.partial:
        return f"{strip.total} visual tokens\nshown: {grid.rows} x {grid.columns} base view"
    return f"{strip.total} visual tokens\n{grid.rows} x {grid.columns} grid"


def _centre_square(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left = (picture.width - side) // 2
    top = (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _fit(width: int, height: int) -> tuple[int, int]:
    """The same proportions with `PANEL` pixels along the longer side."""
    scale = PANEL / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _font(size: int) -> Any:
    return ImageFont.load_default(size=size)


def _text_width(text: str, size: int) -> int:
    return ceil(_font(size).getlength(text))
