"""Draw which tiles of a large picture were looked at and chosen, one panel per look."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageDraw

from transprune.report.overlay import PANEL, draw_row
from transprune.tiles.pyramid import Box, fit
from transprune.tiles.result import Look, TileSearch

LOOKED = (255, 255, 255)
CHOSEN = (255, 170, 0)
EDGE = (20, 22, 28)  # around both, so that they show on any picture


@dataclass(frozen=True)
class TileStrip:
    """One row of the sheet: the picture once per look, with outlines.

    Attributes:
        title: above the row.
        search: what was looked at and chosen.
    """

    title: str
    search: TileSearch

    def draw(self) -> Image.Image:
        """The row as a picture."""
        search = self.search
        thumbnail = search.thumbnail
        # the thumbnail fills its square from the top left
        shown = thumbnail.crop((0, 0, *fit(*search.size, max(thumbnail.size))))
        whole = shown.resize(fit(*search.size, PANEL), Image.Resampling.BICUBIC)

        images = []
        captions = []
        for look in search.looks:
            last = look is search.looks[-1]
            chosen = search.chosen if last else look.chosen
            images.append(_outline(whole, search.size, look, [look.target.box(t) for t in chosen]))
            captions.append(_caption(look, len(chosen)))
        return draw_row(self.title, images, captions)


def _outline(
    whole: Image.Image, size: tuple[int, int], look: Look, chosen: list[Box]
) -> Image.Image:
    """The picture with thin lines around what was looked at, and thick ones around the chosen."""
    picture = whole.copy()
    draw = ImageDraw.Draw(picture)
    across = whole.width / size[0]
    down = whole.height / size[1]

    for tile in look.tiles:
        draw.rectangle(_scaled(look.level.box(tile), across, down), outline=LOOKED)
    for box in chosen:
        edges = _scaled(box, across, down)
        draw.rectangle(edges, outline=EDGE, width=4)
        draw.rectangle(edges, outline=CHOSEN, width=3)
    return picture


def _scaled(box: Box, across: float, down: float) -> tuple[int, int, int, int]:
    """A box of the picture in pixels of the panel, its last pixels included."""
    left = round(box[0] * across)
    top = round(box[1] * down)
    right = max(left, round(box[2] * across) - 1)
    bottom = max(top, round(box[3] * down) - 1)
    return left, top, right, bottom


def _caption(look: Look, chosen: int) -> str:
    width, height = look.level.size
    tiles = look.level.rows * look.level.columns
    return f"{width} x {height}: {len(look.tiles)} of {tiles} looked at\n{chosen} chosen (orange)"
