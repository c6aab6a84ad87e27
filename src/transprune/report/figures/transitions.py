"""How tokens change, layer by layer, as maps over the picture: the seed paper's Figure 2 on our pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.report.theme import Picture, Theme, bare, new_figure, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 16  # layers shown
ACROSS = 8  # in a row
ROWS = (
    ("attention\nmagnitude", "magnitude", 0),
    ("attention\ndirection", "direction", 0),
    ("FFN\nmagnitude", "magnitude", 1),
    ("FFN\ndirection", "direction", 1),
)


def draw_transitions(
    picture: Image.Image,
    shape: tuple[int, int],
    magnitude: NDArray[np.float32],
    cosine: NDArray[np.float32],
    name: str,
) -> Picture:
    """One picture, every layer (at most 16 of them, evenly chosen).

    Args:
        picture: as the model sees it.
        shape: rows and columns of its tokens.
        magnitude, cosine: [L, 2, N], attention first.
        name: of the picture, for the caption.
    """
    layers = np.unique(
        np.linspace(0, len(magnitude) - 1, min(MOST, len(magnitude))).round().astype(int)
    )
    values = {"magnitude": magnitude, "direction": 1 - np.abs(cosine)}
    spans = {
        f"{module} {what}": [
            [float(v[layer, at].min()), float(v[layer, at].max())] for layer in range(len(v))
        ]
        for what, v in values.items()
        for at, module in enumerate(("attention", "ffn"))
    }
    return render(
        "transitions",
        "How visual tokens change, layer by layer",
        f"Picture {name}. Magnitude: norm of a module's output over norm of its normalised input; direction: "
        "1 - |cos| between the two (arXiv 2507.20630, equations 1 and 2, and its Figure 2). Bright is more. Every map "
        "has its own scale; below it stand its least and greatest value.",
        f"{4 * len(layers)} heat maps over the picture, one column per decoder layer, four rows: magnitude and "
        "direction of what attention and feed-forward modules do to each visual token. Which layers single "
        "out the objects, and in which direction, is told by the AUC figure and its table.",
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
    blocks = [layers[at : at + ACROSS] for at in range(0, len(layers), ACROSS)]
    figure = new_figure(1.1 + 0.98 * (ACROSS + 1), 4.9 * len(blocks), theme)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.02, wspace=0.02, hspace=0.02)
    grid = figure.subplots(len(ROWS) * len(blocks), ACROSS + 1, squeeze=False)
    for number, block in enumerate(blocks):
        for row, (title, what, module) in enumerate(ROWS):
            line = grid[number * len(ROWS) + row]
            bare(line[0], theme)
            line[0].imshow(picture)
            line[0].set_ylabel(title, fontsize=9.5, color=theme.ink)
            for axes in line[1 + len(block) :]:
                axes.set_visible(False)
            for axes, layer in zip(line[1:], block, strict=False):
                _map(axes, values[what][layer, module].reshape(shape), theme)
                if row == 0:
                    axes.set_title(
                        f"layer {layer + 1}", fontsize=9.5, color=theme.ink, pad=12 if number else 6
                    )
    return figure


def _map(axes: Axes, values: NDArray[np.float32], theme: Theme) -> None:
    """One map on its own scale, with its least and greatest value below."""
    bare(axes, theme)
    axes.imshow(values, cmap="viridis", interpolation="nearest")
    axes.set_xlabel(
        f"{values.min():.2g} to {values.max():.2g}", fontsize=7.5, color=theme.quiet, labelpad=2
    )
