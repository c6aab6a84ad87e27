"""Which tokens are kept at each stage of one example: Figure 5 of the TransPrune paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from transprune.report.overlay import Grid, as_seen, draw_kept
from transprune.report.picture import Picture, render
from transprune.report.theme import Theme, new_figure, style_image_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kept = Mapping[int, Sequence[int]]  # boundary -> tokens
Edge = tuple[tuple[int, int], tuple[int, int]]  # (x, x), (y, y): start and end


def draw_retention(
    number: int, picture: Image.Image, grid: Grid, kept: Kept, target: Iterable[int]
) -> Picture:
    """One strip: the image, then the tokens that are left behind each boundary.

    Args:
        number: of the example, for the file name.
        picture: the image.
        grid: where its tokens lie.
        kept: boundary -> tokens that were kept.
        target: tokens that show what the question is about; they get an outline. Empty where this
            is not known.
    """
    target = sorted(target)
    stages = [f"{len(keep)} from layer {boundary} on" for boundary, keep in kept.items()]
    alt = f"The image, and what remains of its {grid.cells} tokens: {', '.join(stages)}."
    caption = "Dark patches are dropped."

    if target:
        last = list(kept.values())[-1]
        survivors = len(set(last) & set(target))
        alt += f" Of {len(target)} tokens of the target object, {survivors} stay to the end."
        caption += " Outlined: the object that the question is about (target)."

    # JSON has text keys; "asked" is the name of the target in this file since 0.1.0
    numbers = {
        "kept": {str(boundary): list(keep) for boundary, keep in kept.items()},
        "asked": target,
        "rows": grid.rows,
        "columns": grid.columns,
    }
    return render(
        f"retention{number}",
        f"Example {number}",
        caption,
        alt,
        numbers,
        lambda theme: _figure(picture, grid, kept, target, theme),
        embed=False,  # the page shows it as `Panel`s, which wrap on a phone
    )


def _figure(
    picture: Image.Image, grid: Grid, kept: Kept, target: Sequence[int], theme: Theme
) -> Figure:
    seen = as_seen(picture, grid)
    images = [seen]
    titles = [f"{grid.cells} tokens"]
    for boundary, keep in kept.items():
        images.append(draw_kept(seen, grid, keep))
        titles.append(f"layer {boundary}: {len(keep)}")

    height = 2.05 * grid.rows / grid.columns + 0.05
    figure = new_figure(1.75 * len(images), height, theme)
    panels = figure.subplots(1, len(images), squeeze=False)[0]
    edges = outline(grid, set(target))

    for axes, title, image in zip(panels, titles, images, strict=True):
        style_image_axes(axes, theme)
        # the extent puts the corners of the cells at whole numbers, y down
        axes.imshow(image, extent=(0, grid.columns, grid.rows, 0))
        axes.set_title(title, fontsize=10, color=theme.text)
        _draw_outline(axes, grid, edges)
    return figure


def outline(grid: Grid, cells: set[int]) -> list[Edge]:
    """The edges between these cells and the others, or the border of the image."""
    edges: list[Edge] = []

    for cell in cells:
        y, x = divmod(cell, grid.columns)
        # the row has to be compared too: cell - 1 of a first column is the end of the row above
        if x == 0 or cell - 1 not in cells:
            edges.append(((x, x), (y, y + 1)))
        if x == grid.columns - 1 or cell + 1 not in cells:
            edges.append(((x + 1, x + 1), (y, y + 1)))
        if cell - grid.columns not in cells:
            edges.append(((x, x + 1), (y, y)))
        if cell + grid.columns not in cells:
            edges.append(((x, x + 1), (y + 1, y + 1)))

    return edges


def _draw_outline(axes: Axes, grid: Grid, edges: Sequence[Edge]) -> None:
    """Draw the edges white on black, so that they show on any image."""
    for color, width in (("black", 3.0), ("white", 1.3)):
        for x, y in edges:
            axes.plot(x, y, color=color, linewidth=width, solid_capstyle="round", clip_on=False)

    axes.set_xlim(0, grid.columns)
    axes.set_ylim(grid.rows, 0)
