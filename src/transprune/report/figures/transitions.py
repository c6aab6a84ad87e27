"""How tokens change, layer by layer, as maps over the picture: the seed paper's Figure 2 on our pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.report.theme import Picture, Theme, bare, new_figure, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 16  # columns
ROWS = (
    ("attention\nmagnitude", "magnitude", 0),
    ("attention\ndirection", "direction", 0),
    ("FFN\nmagnitude", "magnitude", 1),
    ("FFN\ndirection", "direction", 1),
)


def draw_transitions(
    picture: Image.Image, shape: tuple[int, int], magnitude: NDArray[np.float32], cosine: NDArray[np.float32], name: str
) -> Picture:
    """One picture, every layer (at most 16 of them, evenly chosen).

    Args:
        picture: as the model sees it.
        shape: rows and columns of its tokens.
        magnitude, cosine: [L, 2, N], attention first.
        name: of the picture, for the caption.
    """
    layers = np.unique(np.linspace(0, len(magnitude) - 1, min(MOST, len(magnitude))).round().astype(int))
    values = {"magnitude": magnitude, "direction": 1 - np.abs(cosine)}
    spans = {
        f"{module} {what}": [[float(v[layer, at].min()), float(v[layer, at].max())] for layer in range(len(v))]
        for what, v in values.items()
        for at, module in enumerate(("attention", "ffn"))
    }
    return render(
        "transitions",
        "How visual tokens change, layer by layer",
        f"Picture {name}. Magnitude: norm of a module's output over norm of its normalised input; direction: "
        "1 - |cos| between the two (arXiv 2507.20630, equations 1 and 2, and its Figure 2). Bright is more. Every map "
        "has its own scale; below it stand its least and greatest value.",
        f"Four rows of {len(layers)} heat maps over the picture, one column per decoder layer: magnitude and direction "
        "of what attention and feed-forward modules do to each visual token. Which layers single out the objects, and "
        "in which direction, is told by the AUC figure and its table.",
        {"picture": name, "rows": shape[0], "columns": shape[1], "range": spans}
        | {what: np.round(v, 5).tolist() for what, v in values.items()},
        lambda theme: _figure(picture, shape, values, layers, theme),
    )


def _figure(
    picture: Image.Image,
    shape: tuple[int, int],
    values: dict[str, NDArray[np.float32]],
    layers: NDArray[np.int64],
    theme: Theme,
) -> Figure:
    figure = new_figure(1.6 + 0.72 * len(layers), 4.1, theme)
    grid = figure.subplots(
        len(ROWS), len(layers) + 1, squeeze=False, gridspec_kw={"width_ratios": [1.15, *[1] * len(layers)]}
    )
    for row, (title, what, module) in enumerate(ROWS):
        first = grid[row, 0]
        bare(first, theme)
        first.imshow(picture)
        first.set_ylabel(title, fontsize=9, color=theme.ink)
        for column, layer in enumerate(layers, start=1):
            axes, values_here = grid[row, column], values[what][layer, module]
            bare(axes, theme)
            axes.imshow(values_here.reshape(shape), cmap="viridis", interpolation="nearest")
            axes.set_xlabel(
                f"{values_here.min():.2g}-{values_here.max():.2g}", fontsize=6.5, color=theme.quiet, labelpad=2
            )
            if row == 0:
                axes.set_title(f"layer {layer + 1}" if column == 1 else f"{layer + 1}", fontsize=9, color=theme.ink)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.02, wspace=0.02, hspace=0.02)
    return figure
