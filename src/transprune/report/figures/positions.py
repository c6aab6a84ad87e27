"""Where TTV and IGA keep tokens on average: positional bias, Figure 4 of the TransPrune paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transprune.report.picture import Picture, render
from transprune.report.theme import Theme, new_figure, style_image_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorizer import ColorizingArtist
    from matplotlib.figure import Figure

Floats = NDArray[np.float32]
Rates = Mapping[str, Mapping[int, Floats]]  # criterion -> boundary -> keep rate, [N]


def draw_positions(
    rates: Rates, shape: tuple[int, int], questions: int, objects: Floats | None
) -> Picture:
    """One map of keep rates per criterion and boundary.

    Args:
        rates: criterion -> boundary -> how often each token is kept, [N].
        shape: rows and columns of the tokens.
        questions: how many questions the rates are averages of.
        objects: how often each token shows an object, [N], or None where this is not known. An
            unbiased criterion would follow it.
    """
    caption = (
        f"In how many of {questions} questions a token stays, if tokens are chosen by how much a "
        "layer changes them alone (TTV), or by the attention of the question alone (IGA), at the "
        "boundaries of TransPrune-High. It shows whether a criterion prefers places of the image "
        "(positional bias, Figure 4 of the paper). The two maps of a boundary share one scale; ↑ "
        "and ↓ are the means of the upper and the lower half."
    )
    if objects is not None:
        caption += " A criterion without such a bias follows the map of where objects are."

    return render(
        "positions",
        "Where tokens are kept, on average",
        caption,
        f"Heat maps of keep rates over the image grid: {_describe(rates)}.",
        _numbers(rates, shape, questions, objects),
        lambda theme: _figure(rates, shape, objects, theme),
    )


def _half_means(rate: Floats) -> tuple[float, float]:
    """Mean keep rate of the upper and of the lower half of the image."""
    upper, lower = np.array_split(rate, 2)  # tokens are in row order, from the top down
    return float(upper.mean()), float(lower.mean())


def _describe(rates: Rates) -> str:
    sentences = []

    for criterion, stages in rates.items():
        # the last boundary shows the bias best: there the fewest tokens are kept
        last = list(stages.values())[-1]
        upper, lower = _half_means(last)
        sentences.append(
            f"{criterion} keeps {100 * upper:.0f} % of the upper and {100 * lower:.0f} % of the "
            "lower half at its last boundary"
        )

    return "; ".join(sentences)


def _numbers(
    rates: Rates, shape: tuple[int, int], questions: int, objects: Floats | None
) -> dict[str, Any]:
    keep_rate: dict[str, dict[str, list[float]]] = {}
    halves: dict[str, dict[str, list[float]]] = {}
    for criterion, stages in rates.items():
        keep_rate[criterion] = {}
        halves[criterion] = {}
        for boundary, rate in stages.items():
            keep_rate[criterion][str(boundary)] = np.round(rate, 4).tolist()
            halves[criterion][str(boundary)] = list(_half_means(rate))

    return {
        "questions": questions,
        "rows": shape[0],
        "columns": shape[1],
        "keep_rate": keep_rate,
        "halves": halves,
        "objects": None if objects is None else np.round(objects, 4).tolist(),
    }


def _figure(rates: Rates, shape: tuple[int, int], objects: Floats | None, theme: Theme) -> Figure:
    boundaries = list(next(iter(rates.values())))
    # a row per criterion; on a phone a row per boundary
    rows, columns = len(rates), len(boundaries)
    if theme.narrow:
        rows, columns = columns, rows

    # the map of the objects stands beside both rows, and on a phone below both columns
    extra = 0 if objects is None else 1
    total = columns + (0 if theme.narrow else extra)
    side = theme.width / total - 0.45  # of a map, in inches
    height = side * shape[0] / shape[1] + 0.4
    figure = new_figure(theme.width, height * (rows + extra * theme.narrow) + 0.4, theme)
    layout = figure.add_gridspec(rows + extra * theme.narrow, total)
    grid = np.empty((rows, columns), dtype=object)
    for row, column in np.ndindex(rows, columns):
        grid[row, column] = figure.add_subplot(layout[row, column])

    by_criterion = grid.T if theme.narrow else grid  # [criteria, boundaries]
    for number, boundary in enumerate(boundaries):
        maps = [stages[boundary] for stages in rates.values()]
        _draw_boundary(figure, list(by_criterion[:, number]), maps, shape, theme)
        mean = 100 * maps[0].mean()  # the criteria keep equally many
        _add_title(by_criterion[0, number], f"from layer {boundary} on: {mean:.0f} %", theme)

    for axes, criterion in zip(by_criterion[:, 0], rates, strict=True):
        _add_criterion(axes, criterion, theme)
    if objects is not None:
        place = layout[-1, :] if theme.narrow else layout[:, columns:]
        _draw_objects(figure.add_subplot(place), objects, shape, theme)
    return figure


def _add_title(axes: Axes, text: str, theme: Theme) -> None:
    """The boundary: above the first map of a column, or beside the first map of a row."""
    if theme.narrow:
        axes.set_ylabel(text, fontsize=9, color=theme.text)
    else:
        axes.set_title(text, fontsize=10, color=theme.text)


def _add_criterion(axes: Axes, text: str, theme: Theme) -> None:
    if theme.narrow:
        axes.set_title(text, fontsize=10, color=theme.text)
    else:
        axes.set_ylabel(text, fontsize=11, color=theme.text)


def _draw_boundary(
    figure: Figure, cells: list[Axes], maps: list[Floats], shape: tuple[int, int], theme: Theme
) -> None:
    """The maps of one boundary on one scale, with its colour bar."""
    low = float(np.min(maps))
    high = float(np.max(maps))

    for axes, rate in zip(cells, maps, strict=True):
        style_image_axes(axes, theme)
        image = axes.imshow(
            rate.reshape(shape),  # [N] -> [rows, columns]
            cmap="cividis",
            vmin=low,
            vmax=high,
            interpolation="none",
        )
        upper, lower = _half_means(rate)
        label = f"↑ {100 * upper:.0f} %   ↓ {100 * lower:.0f} %"
        axes.set_xlabel(label, fontsize=9, color=theme.muted)
    _add_color_bar(figure, image, cells, theme)


def _add_color_bar(
    figure: Figure, image: ColorizingArtist, cells: list[Axes], theme: Theme
) -> None:
    location = "right" if theme.narrow else "bottom"
    bar = figure.colorbar(image, ax=cells, location=location, fraction=0.05, aspect=18, pad=0.02)
    assert bar.solids is not None
    bar.solids.set_rasterized(True)  # one small image in place of 256 shapes
    bar.ax.tick_params(colors=theme.muted, labelsize=8)
    bar.outline.set_edgecolor(theme.rule)
    low, high = image.get_clim()
    assert low is not None
    assert high is not None
    bar.set_ticks([low, (low + high) / 2, high])
    # matplotlib takes any callable here; its stubs know only its own formatters
    bar.formatter = lambda share, at=None: f"{100 * share:.0f} %"  # type: ignore[assignment]
    bar.update_ticks()
    if not theme.narrow:
        # inwards, so that the labels of two bars side by side keep apart
        first, _, last = bar.ax.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")


def _draw_objects(axes: Axes, objects: Floats, shape: tuple[int, int], theme: Theme) -> None:
    """Where the objects are: one map for both criteria."""
    style_image_axes(axes, theme)
    axes.imshow(objects.reshape(shape), cmap="cividis", interpolation="none")
    axes.set_title("where objects are", fontsize=10, color=theme.text)

    label = f"{100 * objects.min():.0f} to {100 * objects.max():.0f} % of the questions"
    axes.set_xlabel(label, fontsize=9, color=theme.muted)
