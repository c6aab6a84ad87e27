"""Pictures of what was kept: the patches that stay look as they are, the others are dimmed.

A row of panels per method: the picture as the model sees it, then one panel per stage. Which token is which patch
differs by family, so a `Grid` says it:

- LLaVA-1.5: a square grid over the centre of the picture (the processor crops).
- Qwen2.5-VL: `image_grid_thw`, patches merged by two in each direction, over the whole picture.
- LLaVA-NeXT: the first tokens of an image are the square grid of its base view; those of its tiles follow, unpadded and
  with newlines, and have no panel of their own. The caption counts them all, the panel shows the base view.
- Anything else has no grid: its tokens are drawn as a block of cells in prompt order, without the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isqrt
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from transprune.trace import Trace

PANEL = 192  # pixels along the longer side of a panel
GAP, LINE = 12, 18
INK, FAINT, PAPER = (28, 30, 34), (105, 110, 118), (255, 255, 255)
DIM = (22, 24, 30)  # what dropped patches sink into
KEPT_CELL, DROPPED_CELL = (64, 120, 200), (218, 221, 226)


@dataclass(frozen=True)
class Grid:
    """Where the tokens of one image lie: `rows * columns` tokens in raster order, from number `first` of the image on.

    Attributes:
        rows, columns: tokens down and across.
        cropped: they cover the centre square only, because the processor crops.
        total: visual tokens of the image; more than rows * columns where some have no place in the picture.
    """

    rows: int
    columns: int
    cropped: bool = False
    total: int = 0

    @property
    def cells(self) -> int:
        """Tokens that have a place."""
        return self.rows * self.columns

    @property
    def partial(self) -> bool:
        """Some tokens of the image have no place."""
        return self.total > self.cells


@dataclass(frozen=True)
class Panel:
    """One stage of one image: what is kept (token numbers within the image) and the words below."""

    keep: Sequence[int]
    caption: str


@dataclass(frozen=True)
class Strip:
    """One row of the sheet: a title, the picture, its grid if known, and a panel per stage."""

    title: str
    picture: Image.Image
    grid: Grid | None
    panels: tuple[Panel, ...]
    total: int


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
    vision = config.vision_config
    shapes = inputs.get("image_grid_thw")
    if shapes is not None:
        merge = getattr(vision, "spatial_merge_size", 1)
        frames, rows, columns = (int(n) for n in shapes[image])
        grid = Grid(rows // merge, columns // merge, total=tokens)
        return grid if frames == 1 and grid.cells == tokens else None
    size, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    if not isinstance(size, int) or not isinstance(patch, int):
        return None
    side, tiles = size // patch, inputs.get("image_sizes") is not None
    if tokens == side**2 or (tiles and tokens > side**2):
        return Grid(side, side, cropped=cropped and not tiles, total=tokens)
    return None


def as_seen(picture: Image.Image, grid: Grid | None) -> Image.Image:
    """The part of the picture the tokens cover, scaled so that every cell is a whole number of pixels."""
    if grid is None:
        return picture.resize(_fit(*picture.size))
    if grid.cropped:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    cell = max(4, ceil(PANEL / max(grid.rows, grid.columns)))
    size = (grid.columns * cell, grid.rows * cell)
    enlarged = (
        size[0] >= 2 * picture.width
    )  # small pictures keep their hard pixels, as the model gets them
    return picture.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)


def stage_panels(trace: Trace, tokens: int | None = None, first: int = 0) -> tuple[Panel, ...]:
    """A panel per stage for one image: `tokens` visual tokens (all, if not given) from number `first` of the sample."""
    total = trace.visual_tokens[0] if tokens is None else tokens
    panels = []
    for stage in trace.stages:
        keep = [token - first for token in stage.keep[0].tolist() if first <= token < first + total]
        share = f"{100 * len(keep) / total:.3g} %"
        panels.append(
            Panel(keep, f"from layer {stage.boundary} on\n{len(keep)} of {total} stay ({share})")
        )
    return tuple(panels)


def draw_kept(picture: Image.Image, grid: Grid, keep: Iterable[int]) -> Image.Image:
    """`picture` with the cells in `keep` untouched and all others dimmed; it has the same size."""
    pixels = np.asarray(picture.convert("RGB"))
    mask = _cells(grid, keep)
    rows = np.arange(picture.height) * grid.rows // picture.height
    columns = np.arange(picture.width) * grid.columns // picture.width
    stays = mask[rows][:, columns]
    grey = pixels.mean(axis=2, keepdims=True)
    dimmed = (0.22 * grey + 0.78 * np.array(DIM)).astype(np.uint8)
    return Image.fromarray(np.where(stays[..., None], pixels, dimmed))


def draw_tokens(total: int, keep: Iterable[int], cell: int = 0) -> Image.Image:
    """Tokens without a known place, as a block of cells in prompt order."""
    columns = isqrt(max(0, total - 1)) + 1
    rows = ceil(total / columns)
    cell = cell or max(3, PANEL // columns)
    block = Image.new("RGB", (columns * cell, rows * cell), PAPER)
    draw, kept = ImageDraw.Draw(block), set(keep)
    for token in range(total):
        y, x = divmod(token, columns)
        box = (x * cell, y * cell, (x + 1) * cell - 2, (y + 1) * cell - 2)
        draw.rectangle(box, fill=KEPT_CELL if token in kept else DROPPED_CELL)
    return block


def draw_strip(strip: Strip) -> Image.Image:
    """One row: title, then picture and stages side by side with their captions."""
    seen = as_seen(strip.picture, strip.grid)
    images, captions = [seen], [_total_caption(strip)]
    for panel in strip.panels:
        drawn = (
            draw_tokens(strip.total, panel.keep)
            if strip.grid is None
            else draw_kept(seen, strip.grid, panel.keep)
        )
        images.append(drawn)
        captions.append(panel.caption)
    width = sum(max(image.width, PANEL) + GAP for image in images) + GAP
    height = max(image.height for image in images)
    row = Image.new("RGB", (width, LINE + 8 + height + 4 + 2 * LINE), PAPER)
    draw = ImageDraw.Draw(row)
    draw.text((GAP, 4), strip.title, fill=INK, font=_font(14))
    left = GAP
    for image, caption in zip(images, captions, strict=True):
        row.paste(image, (left, LINE + 8))
        draw.multiline_text(
            (left, LINE + 8 + height + 3), caption, fill=FAINT, font=_font(12), spacing=3
        )
        left += max(image.width, PANEL) + GAP
    return row


def draw_sheet(title: str, strips: Sequence[Strip], subtitle: str = "") -> Image.Image:
    """Rows below each other under one title."""
    rows = [draw_strip(strip) for strip in strips]
    head = GAP + 22 + (LINE if subtitle else 0) + 4
    width = max(
        [row.width for row in rows] + [_width(title, 17) + 2 * GAP, _width(subtitle, 12) + 2 * GAP]
    )
    sheet = Image.new("RGB", (width, head + sum(row.height for row in rows)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, fill=INK, font=_font(17))
    draw.text((GAP, GAP + 24), subtitle, fill=FAINT, font=_font(12))
    top = head
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _cells(grid: Grid, keep: Iterable[int]) -> np.ndarray:
    """bool [rows, columns]; token numbers beyond the grid have no place in it."""
    mask = np.zeros(grid.cells, dtype=bool)
    mask[[int(token) for token in keep if int(token) < grid.cells]] = True
    return mask.reshape(grid.rows, grid.columns)


def _total_caption(strip: Strip) -> str:
    grid = strip.grid
    if grid is None:
        return f"{strip.total} visual tokens\nstages: cells in prompt order"
    if grid.partial:
        return f"{strip.total} visual tokens\nshown: {grid.rows} x {grid.columns} base view"
    return f"{strip.total} visual tokens\n{grid.rows} x {grid.columns} grid"


def _fit(width: int, height: int) -> tuple[int, int]:
    scale = PANEL / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _font(size: int) -> Any:
    return ImageFont.load_default(size=size)


def _width(text: str, size: int) -> int:
    return ceil(_font(size).getlength(text))
