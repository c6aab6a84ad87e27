"""How tokens change in every layer, as maps over the image: Figure 2 of the TransPrune paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.report.picture import Picture, render
from transprune.report.theme import NARROW, WIDE, Theme, new_figure, style_image_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LAYERS = 32  # layers shown: all of a 7B model, in four blocks of eight
FEW_BLOCKS = 2  # up to so many, each has the image beside it: a photograph is large in a page
GAP = 0.06  # inches between two maps

# heading, quantity, index of the module (0 attention, 1 FFN)
MAP_ROWS = (
    ("attention\nmagnitude", "magnitude", 0),
    ("attention\ndirection", "direction", 0),
    ("FFN\nmagnitude", "magnitude", 1),
    ("FFN\ndirection", "direction", 1),
)

Floats = NDArray[np.float32]
Quantities = Mapping[str, Floats]  # quantity -> [L, 2, N]


@dataclass(frozen=True)
class Plan:
    """Where the parts of the figure are; all lengths in inches.

    Attributes:
        width: of the figure.
        columns: maps side by side in a block.
        left: where the maps begin; headings are to the left of it.
        picture: side of the image.
        head: height above the first block, for the image; 0 where it stands beside each block.
        label: height of the numbers below a map.
        title: height of the numbers of the layers above a block.
    """

    width: float
    columns: int
    left: float
    picture: float
    head: float
    label: float
    title: float = 0.36

    @property
    def side(self) -> float:
        """Side of a map."""
        return (self.width - self.left) / self.columns - GAP

    @property
    def block(self) -> float:
        """Height of a block."""
        return self.title + len(MAP_ROWS) * (self.side + self.label)


WIDE_PLAN = Plan(WIDE, columns=8, left=2.35, picture=1.4, head=0.0, label=0.24)
NARROW_PLAN = Plan(NARROW, columns=4, left=0.46, picture=1.3, head=1.45, label=0.38)


def draw_transitions(
    picture: Image.Image, shape: tuple[int, int], magnitude: Floats, cosine: Floats, name: str
) -> Picture:
    """Four maps per decoder layer of one image (at most 32 layers, evenly spaced).

    Args:
        picture: the part of the image that the tokens cover.
        shape: rows and columns of its tokens.
        magnitude, cosine: [L, 2, N], attention first, then FFN.
        name: of the image, for the caption.
    """
    quantities = {"magnitude": magnitude, "direction": 1 - np.abs(cosine)}
    layers = shown_layers(len(magnitude))

    return render(
        "transitions",
        "How visual tokens change, layer by layer",
        f"How much the two modules of a layer, attention and the feed-forward network (FFN), change "
        f"each token of image {name}: in length (magnitude: norm of the module's output over norm "
        "of its normalised input) and in direction (1 - |cos| between the two; arXiv 2507.20630, "
        "equations 1 and 2, and its Figure 2). Bright is more. Every map has its own scale; the "
        "numbers below it are its minimum and maximum.",
        f"{4 * len(layers)} heat maps over the image, one column per decoder layer, four rows: "
        "magnitude and direction of the change that attention and feed-forward modules make to "
        "each visual token. The AUC figure and its table show which layers single out the objects, "
        "and in which direction.",
        _numbers(name, shape, quantities),
        lambda theme: _figure(picture, shape, quantities, layers, theme),
    )


def shown_layers(total: int) -> NDArray[np.int64]:
    """The layers that are shown, from 0 on; readers see them from 1 on."""
    count = min(MAX_LAYERS, total)
    spaced = np.linspace(0, total - 1, count).round()
    return np.unique(spaced.astype(np.int64))


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
    plan = NARROW_PLAN if theme.narrow else WIDE_PLAN
    blocks = []
    for start in range(0, len(layers), plan.columns):
        blocks.append(layers[start : start + plan.columns])

    figure = new_figure(plan.width, plan.head + plan.block * len(blocks), theme)
    figure.set_layout_engine("none")  # every map has its own place, so that no labels touch

    top = plan.head
    for number, block in enumerate(blocks):
        # on a phone, and where there are many blocks, the image stands at the first one only
        if number == 0 or (not plan.head and len(blocks) <= FEW_BLOCKS):
            _draw_picture(figure, picture, plan, top)
        for row, (heading, quantity, module) in enumerate(MAP_ROWS):
            edge = top + plan.title + row * (plan.side + plan.label)
            _draw_heading(figure, heading, plan, edge, theme)
            maps = quantities[quantity][block, module].reshape(-1, *shape)  # [block, rows, columns]
            _draw_maps(figure, maps, plan, edge, theme)

        _draw_titles(figure, block, plan, top, theme)
        top += plan.block
    return figure


def _place(figure: Figure, left: float, top: float, side: float) -> Axes:
    """Square axes; all in inches, `top` from the upper edge of the figure down."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
    axes.set_anchor("C")
    return axes


def _write(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Text at a place in inches, `y` from the upper edge of the figure down."""
    width, height = figure.get_size_inches()
    figure.text(x / width, 1 - y / height, text, **style)


def _draw_picture(figure: Figure, picture: Image.Image, plan: Plan, top: float) -> None:
    """The image: beside the middle of its block, or above all blocks."""
    middle = top + plan.title + (plan.block - plan.title - plan.picture) / 2
    left = (plan.width - plan.picture) / 2 if plan.head else GAP
    axes = _place(figure, left, GAP if plan.head else middle, plan.picture)
    axes.imshow(picture, interpolation="none")
    axes.set_axis_off()


def _draw_heading(figure: Figure, text: str, plan: Plan, edge: float, theme: Theme) -> None:
    """What a row of maps shows, on its left; upright on a phone."""
    _write(
        figure,
        plan.left - 0.08,
        edge + plan.side / 2,
        text,
        fontsize=8.5 if theme.narrow else 9.5,
        color=theme.text,
        ha="right",
        va="center",
        rotation=90 if theme.narrow else 0,
        multialignment="center",
    )


def _draw_maps(figure: Figure, maps: Floats, plan: Plan, edge: float, theme: Theme) -> None:
    """Maps side by side, each on its own scale, with its minimum and maximum below."""
    for column, values in enumerate(maps):
        left = plan.left + column * (plan.side + GAP)
        axes = _place(figure, left, edge, plan.side)
        style_image_axes(axes, theme)
        axes.imshow(values, cmap="viridis", interpolation="none")

        # in two lines where a map is narrower than two numbers
        between = " to\n" if theme.narrow else " to "
        text = f"{values.min():.2g}{between}{values.max():.2g}"
        style = {"fontsize": 8, "color": theme.muted, "ha": "center", "va": "top"}
        _write(figure, left + plan.side / 2, edge + plan.side + 0.05, text, **style)


def _draw_titles(
    figure: Figure, block: NDArray[np.int64], plan: Plan, top: float, theme: Theme
) -> None:
    for column, layer in enumerate(block):
        middle = plan.left + column * (plan.side + GAP) + plan.side / 2
        style = {"fontsize": 9.5, "color": theme.text, "ha": "center", "va": "bottom"}
        _write(figure, middle, top + plan.title - 0.06, f"layer {layer + 1}", **style)
