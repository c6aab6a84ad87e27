"""What stays, stage by stage, on one example: the seed paper's Figure 5."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from transprune.report.overlay import Grid, as_seen, draw_kept
from transprune.report.theme import Picture, Theme, bare, new_figure, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_retention(
    number: int,
    picture: Image.Image,
    grid: Grid,
    kept: Mapping[int, Sequence[int]],
    asked: Iterable[int],
) -> Picture:
    """One strip: the picture, then what is left from each boundary on.

    Args:
        number: of the example, for the file's name.
        picture: the picture.
        grid: where its tokens lie.
        kept: boundary -> tokens that stayed.
        asked: tokens that show what the question is about; outlined. Empty where nobody knows.
    """
    outlined = sorted(asked)
    left = [f"{len(keep)} from layer {boundary} on" for boundary, keep in kept.items()]
    inside = [len(set(keep) & set(outlined)) for keep in kept.values()]
    seen = (
        f" Of {len(outlined)} tokens of what is asked about, {inside[-1]} stay to the end."
        if outlined
        else ""
    )
    return render(
        f"retention{number}",
        f"Example {number}",
        "Dark patches are dropped."
        + (" Outlined: what the question is about." if outlined else ""),
        f"The picture, and what remains of its {grid.cells} tokens: {', '.join(left)}.{seen}",
        {
            "kept": {str(b): list(k) for b, k in kept.items()},
            "asked": outlined,
            "rows": grid.rows,
            "columns": grid.columns,
        },
        lambda theme: _figure(picture, grid, kept, outlined, theme),
    )


def _figure(
    picture: Image.Image,
    grid: Grid,
    kept: Mapping[int, Sequence[int]],
    asked: Sequence[int],
    theme: Theme,
) -> Figure:
    seen = as_seen(picture, grid)
    figure = new_figure(1.75 * (len(kept) + 1), 2.05 * grid.rows / grid.columns + 0.05, theme)
    panels = figure.subplots(1, len(kept) + 1, squeeze=False)[0]
    titles = [f"{grid.cells} tokens", *(f"layer {b}: {len(k)}" for b, k in kept.items())]
    images = [seen, *(draw_kept(seen, grid, keep) for keep in kept.values())]
    for axes, title, image in zip(panels, titles, images, strict=True):
        bare(axes, theme)
        axes.imshow(image, extent=(0, grid.columns, grid.rows, 0))
        axes.set_title(title, fontsize=10, color=theme.ink)
        _outline(axes, grid, set(asked))
    return figure


def _outline(axes: Axes, grid: Grid, asked: set[int]) -> None:
    """The edge of a set of cells, white on black so that it shows on any picture."""
    edges: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for token in asked:
        y, x = divmod(token, grid.columns)
        sides = (
            (x > 0 and token - 1 in asked, (x, x), (y, y + 1)),
            (x < grid.columns - 1 and token + 1 in asked, (x + 1, x + 1), (y, y + 1)),
            (token - grid.columns in asked, (x, x + 1), (y, y)),
            (token + grid.columns in asked, (x, x + 1), (y + 1, y + 1)),
        )
        edges += [(across, down) for inner, across, down in sides if not inner]
    for color, width in (("black", 3.0), ("white", 1.3)):
        for across, down in edges:
            axes.plot(
                across, down, color=color, linewidth=width, solid_capstyle="round", clip_on=False
            )
    axes.set_xlim(0, grid.columns)
    axes.set_ylim(grid.rows, 0)
