"""Where TTV and IGA keep tokens on average: positional bias, Figure 4 of the TransPrune paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transprune.report.theme import Picture, Theme, new_figure, render, style_image_axes

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
        f"Share of {questions} questions in which a token is kept, for each criterion alone with "
        "the High schedule (positional bias, Figure 4 of the paper). The two maps of a column "
        "share one scale; ↑ and ↓ are the means of the upper and the lower half."
    )
    if objects is not None:
        caption += " Objects are placed uniformly, so an unbiased criterion gives a uniform map."

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
    columns = len(boundaries)
    if objects is not None:
        columns += 1

    figure = new_figure(2.05 * columns + 0.6, 2.2 * len(rates) + 0.3, theme)
    grid = figure.subplots(len(rates), columns, squeeze=False)
    for axes, criterion in zip(grid[:, 0], rates, strict=True):
        axes.set_ylabel(criterion, fontsize=11, color=theme.text)

    for column, boundary in enumerate(boundaries):
        maps = [stages[boundary] for stages in rates.values()]
        column_axes = list(grid[:, column])
        image = _draw_column(column_axes, maps, shape, theme)
        mean = 100 * maps[0].mean()  # the criteria keep equally many
        title = f"from layer {boundary} on: {mean:.0f} %"
        column_axes[0].set_title(title, fontsize=9.5, color=theme.text)
        _add_color_bar(figure, image, column_axes, theme)

    if objects is not None:
        _draw_objects(grid[:, -1], objects, shape, theme)
    return figure


def _draw_column(
    column: list[Axes], maps: list[Floats], shape: tuple[int, int], theme: Theme
) -> ColorizingArtist:
    """The maps of one boundary on one scale; returns the last image, for the colour bar."""
    low = float(np.min(maps))
    high = float(np.max(maps))

    for axes, rate in zip(column, maps, strict=True):
        style_image_axes(axes, theme)
        image = axes.imshow(
            rate.reshape(shape),  # [N] -> [rows, columns]
            cmap="cividis",
            vmin=low,
            vmax=high,
            interpolation="nearest",
        )
        upper, lower = _half_means(rate)
        label = f"↑ {100 * upper:.0f} %   ↓ {100 * lower:.0f} %"
        axes.set_xlabel(label, fontsize=9, color=theme.muted)
    return image


def _add_color_bar(
    figure: Figure, image: ColorizingArtist, column: list[Axes], theme: Theme
) -> None:
    bar = figure.colorbar(image, ax=column, location="bottom", fraction=0.05, aspect=18, pad=0.02)
    bar.ax.tick_params(colors=theme.muted, labelsize=8)
    bar.outline.set_edgecolor(theme.rule)
    # matplotlib takes any callable here; its stubs know only its own formatters
    bar.formatter = lambda share, at=None: f"{100 * share:.0f}%"  # type: ignore[assignment]
    bar.update_ticks()


def _draw_objects(
    column: NDArray[np.object_], objects: Floats, shape: tuple[int, int], theme: Theme
) -> None:
    """The last column: one map of where the objects are."""
    axes = column[0]
    style_image_axes(axes, theme)
    axes.imshow(objects.reshape(shape), cmap="cividis", interpolation="nearest")
    axes.set_title("where objects are", fontsize=9.5, color=theme.text)

    label = f"{100 * objects.min():.0f}-{100 * objects.max():.0f} %"
    axes.set_xlabel(label, fontsize=9, color=theme.muted)

    # one map is enough for both criteria
    for unused in column[1:]:
        unused.set_visible(False)
