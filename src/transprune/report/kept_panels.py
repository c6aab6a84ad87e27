"""The kept tokens of an example as panels of the page, which wrap on a phone.

The image of a panel is WebP: without loss where the picture is enlarged and has hard pixels, else
at quality 90, at which colours do not change visibly. The outline is drawn by the page.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from transprune.report.figures.retention import outline
from transprune.report.overlay import Grid, as_seen, draw_kept

QUALITY = 90


@dataclass(frozen=True)
class KeptPanel:
    """The image with the tokens that one stage keeps.

    Attributes:
        title: which stage, and how many tokens.
        webp: bytes of the image, dropped tokens dimmed.
        rows, columns: of its tokens.
        outline: around the tokens of the target, as SVG path data in cells; empty without any.
    """

    title: str
    webp: bytes
    rows: int
    columns: int
    outline: str


def kept_panels(
    picture: Image.Image, grid: Grid, kept: Mapping[int, Sequence[int]], target: Collection[int]
) -> tuple[KeptPanel, ...]:
    """The image, then one panel per boundary.

    Args:
        picture: the image.
        grid: where its tokens lie.
        kept: boundary -> tokens that were kept.
        target: tokens that show what the question is about; empty where this is not known.
    """
    seen = as_seen(picture, grid)
    lossless = seen.width >= 2 * picture.width
    path = " ".join(f"M{x[0]} {y[0]}L{x[1]} {y[1]}" for x, y in outline(grid, set(target)))

    images = [(f"all {grid.cells} tokens", seen)]
    for boundary, keep in kept.items():
        images.append((_title(boundary, len(keep)), draw_kept(seen, grid, keep)))

    panels = []
    for title, image in images:
        panels.append(KeptPanel(title, _webp(image, lossless), grid.rows, grid.columns, path))
    return tuple(panels)


def _title(boundary: int, count: int) -> str:
    if boundary == 0:
        return f"in front of the language model: {count} stay"
    return f"from layer {boundary} on: {count} stay"


def _webp(image: Image.Image, lossless: bool) -> bytes:
    stream = io.BytesIO()
    # method 6 is the slowest and smallest; with `lossless` the quality is the effort
    image.save(stream, "WEBP", lossless=lossless, quality=QUALITY, method=6)
    return stream.getvalue()
