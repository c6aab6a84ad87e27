"""How tokens change in every layer, as maps over the image: Figure 2 of the TransPrune paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.report.theme import Picture, Theme, new_figure, render, style_image_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LAYERS = 16  # layers shown
LAYERS_PER_BLOCK = 8  # beside each other

# heading, quantity, index of the module (0 attention, 1 FFN)
MAP_ROWS = (
    ("attention\nmagnitude", "magnitude", 0),
    ("attention\ndirection", "direction", 0),
    ("FFN\nmagnitude", "magnitude", 1),
    ("FFN\ndirection", "direction", 1),
)

Floats = NDArray[np.float32]
Quantities = Mapping[str, Floats]  # quantity -> [L, 2, N]


def draw_transitions(
    picture: Image.Image, shape: tuple[int, int], magnitude: Floats, cosine: Floats, name: str
) -> Picture:
    """Four maps per decoder layer of one image (at most 16 layers, evenly spaced).

    Args:
        picture: the part of the image that the tokens cover.
        shape: rows and columns of its tokens.
        magnitude, cosine: [L, 2, N], attention first, then FFN.
        name: of the image, for the caption.
    """
    quantities = {"magnitude": magnitude, "direction": 1 - np.abs(cosine)}
    count = min(MAX_LAYERS, len(magnitude))
    spaced = np.linspace(0, len(magnitude) - 1, count).round()
    layers = np.unique(spaced.astype(int))  # from 0 on; readers see them from 1 on

    return render(
        "transitions",
        "How visual tokens change, layer by layer",
        f"Image {name}. Magnitude: norm of a module's output over norm of its normalised input; "
        "direction: 1 - |cos| between the two (arXiv 2507.20630, equations 1 and 2, and its "
        "Figure 2). Bright is more. Every map has its own scale; the numbers below it are its "
        "minimum and maximum.",
        f"{4 * len(layers)} heat maps over the image, one column per decoder layer, four rows: "
        "magnitude and direction of the change that attention and feed-forward modules make to "
        "each visual token. The AUC figure and its table show which layers single out the objects, "
        "and in which direction.",
        _numbers(name, shape, quantities),
        lambda theme: _figure(picture, shape, quantities, layers, theme),
    )


def _numbers(name: str, shape: tuple[int, int], quantities: Quantities) -> dict[str, Any]:
    ranges: dict[str, list[list[float]]] = {}
    for quantity, values in quantities.items():
        for index, module in enumerate(("attention", "ffn")):
            # the scale of each map, which its colours do not show
            maps = values[:, index]  # [L, 2, N] -> [L, N]
            extremes = np.stack([maps.min(axis=1), maps.max(axis=1)], axis=1)  # [L, 2]
            ranges[f"{module} {quantity}"] = extremes.tolist()

    numbers: dict[str, Any] = {
        "picture": name,
        "rows": shape[0],
        "columns": shape[1],
        "range": ranges,
    }
    for quantity, values in quantities.items():
        numbers[quantity] = np.round(values, 5).tolist()
    return numbers


def _figure(
    picture: Image.Image,
    shape: tuple[int, int],
    quantities: Quantities,
    layers: NDArray[np.int64],
    theme: Theme,
) -> Figure:
    blocks = []
    for start in range(0, len(layers), LAYERS_PER_BLOCK):
        blocks.append(layers[start : start + LAYERS_PER_BLOCK])

    columns = LAYERS_PER_BLOCK + 1  # the image stands before the maps
    figure = new_figure(1.1 + 0.98 * columns, 4.9 * len(blocks), theme)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.02, wspace=0.02, hspace=0.02)
    grid = figure.subplots(len(MAP_ROWS) * len(blocks), columns, squeeze=False)

    for number, block in enumerate(blocks):
        first_row = number * len(MAP_ROWS)
        for row, (heading, quantity, module) in enumerate(MAP_ROWS):
            image_axes, *map_axes = grid[first_row + row]
            style_image_axes(image_axes, theme)
            image_axes.imshow(picture)
            image_axes.set_ylabel(heading, fontsize=9.5, color=theme.text)

            maps = quantities[quantity][block, module]  # [L, 2, N] -> [block, N]
            _draw_maps(map_axes, maps.reshape(-1, *shape), theme)

        # from the second block on, the titles keep away from the numbers below the maps above
        _add_titles(grid[first_row, 1:], block, theme, pad=12 if number else 6)
    return figure


def _draw_maps(row: list[Axes], maps: Floats, theme: Theme) -> None:
    """Maps side by side, each on its own scale, with its minimum and maximum below."""
    for axes, values in zip(row, maps, strict=False):
        style_image_axes(axes, theme)
        axes.imshow(values, cmap="viridis", interpolation="nearest")
        label = f"{values.min():.2g} to {values.max():.2g}"
        axes.set_xlabel(label, fontsize=7.5, color=theme.muted, labelpad=2)

    for unused in row[len(maps) :]:
        unused.set_visible(False)


def _add_titles(
    row: NDArray[np.object_], block: NDArray[np.int64], theme: Theme, *, pad: int
) -> None:
    for axes, layer in zip(row, block, strict=False):
        axes.set_title(f"layer {layer + 1}", fontsize=9.5, color=theme.text, pad=pad)
