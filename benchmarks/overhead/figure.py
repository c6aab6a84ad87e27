"""The picture of this benchmark: host time and operations, growth with tokens, the bundled model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transprune.report.theme import LIGHT, MARKERS, need_extra, new_figure, style_axes

from . import growth
from .rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 3.2  # inches of each row of panels
BAR = 0.8  # of the space between two methods


@dataclass(frozen=True)
class Bars:
    """A panel with one bar per method and group.

    Attributes:
        part: of the benchmark.
        title: of the panel.
        groups: of rows, drawn beside each other.
    """

    part: str
    title: str
    groups: tuple[str, ...]


PANELS = (
    Bars(
        "host",
        "host time of a prefill, % over unpruned",
        ("prefill", "attach, prefill, detach"),
    ),
    Bars("host", "host time of a decode step, % over unpruned", ("decode step",)),
    Bars(
        "kernels",
        "operations of a prefill, % over unpruned",
        ("batch 1, prefill", "batch 8, prefill", "ragged 8, prefill"),
    ),
    Bars(
        "ratio",
        "time of a prefill, % over the reference",
        ("bfloat16: prefill / reference", "float32: prefill / reference"),
    ),
    Bars(
        "nano",
        "bundled model, time of a prefill, % over unpruned",
        ("batch 1: prefill", "batch 8: prefill"),
    ),
)


def draw(measured: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Draw the panels for which there are rows.

    Args:
        measured: rows by part.
        path: file to write; its suffix chooses the format.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    need_extra()
    panels: list[Callable[[Axes], None]] = []
    for bars in PANELS:
        rows = [row for row in measured.get(bars.part, ()) if row.group in bars.groups]
        if rows:
            panels.append(partial(_draw_bars, rows=rows, bars=bars))
    if measured.get("growth"):
        panels.append(partial(_draw_growth, rows=measured["growth"]))

    lines = -(-len(panels) // 2)
    figure = new_figure(LIGHT.width, HEIGHT * lines, LIGHT)
    for number, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(lines, 2, number)
        panel(axes)
        style_axes(axes, LIGHT, grid=False)
    figure.savefig(path, dpi=110)


def _draw_bars(axes: Axes, rows: Sequence[Row], bars: Bars) -> None:
    """The percentages of each method, one bar per group, the first method on top."""
    names = list(dict.fromkeys(row.what for row in rows))
    # a dtype or a batch that was not measured takes no place
    measured = {row.group for row in rows}
    groups = [group for group in bars.groups if group in measured]
    width = BAR / len(groups)

    for number, group in enumerate(groups):
        percent = {row.what: 100 * (row.ratio - 1) for row in rows if row.group == group}
        places = [names.index(name) + (number + 0.5) * width - BAR / 2 for name in percent]
        label = group.removesuffix(": prefill / reference")
        axes.barh(places, list(percent.values()), width, color=LIGHT.hue(number), label=label)

    axes.axvline(0, color=LIGHT.muted, linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", color=LIGHT.rule, linewidth=0.6)
    axes.set_axisbelow(True)
    _finish(axes, bars.title)
    if len(groups) > 1:  # below: anywhere else it may cover a bar
        axes.legend(
            fontsize=7,
            frameon=False,
            loc="upper left",
            bbox_to_anchor=(0, -0.07),
            ncols=len(groups),
        )


def _draw_growth(axes: Axes, rows: Sequence[Row]) -> None:
    """The overhead over the control, one line per batch."""
    points = _growth_points(rows)
    for number, (batch, line) in enumerate(points.items()):
        tokens, percent = zip(*line, strict=True)
        style: dict[str, Any] = {"marker": MARKERS[number], "color": LIGHT.hue(number)}
        axes.plot(tokens, percent, label=batch, **style)

    axes.axhline(0, color=LIGHT.muted, linewidth=1)
    axes.set_xscale("log")
    ticks = sorted({tokens for line in points.values() for tokens, _ in line})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("visual tokens of a sample")
    axes.grid(axis="y", color=LIGHT.rule, linewidth=0.6)
    _finish(axes, "prefill of TransPrune-High, % over random-high")


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(fontsize=7, frameon=False)


def _growth_points(rows: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
    """Batch -> (visual tokens, percent above the control)."""
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.what == growth.OVER_CONTROL:
            cell = growth.CELLS[row.group]
            batch = f"{'ragged' if cell.ragged else 'batch'} {cell.batch}"
            points.setdefault(batch, []).append((cell.visual, 100 * (row.ratio - 1)))
    return {batch: sorted(line) for batch, line in points.items()}
