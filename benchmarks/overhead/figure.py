"""The picture of this benchmark: host time and operations, growth with tokens, the bundled model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transprune.report.theme import LIGHT, MARKERS, need_extra, new_figure, style_axes

from . import growth
from .rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 3.6  # inches of each row of panels
BAR = 0.8  # of the space between two methods

# panel -> part, title, groups drawn as bars beside each other
BARS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "host": (
        "host",
        "host time / unpruned (width 64)",
        ("prefill", "attach, prefill, detach", "decode step"),
    ),
    "kernels": (
        "kernels",
        "operations of a prefill / unpruned",
        ("batch 1, prefill", "batch 8, prefill", "ragged 8, prefill"),
    ),
    "nano": (
        "nano",
        "bundled model: prefill / unpruned",
        ("batch 1: prefill", "batch 8: prefill"),
    ),
}


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
    for part, title, groups in BARS.values():
        rows = [row for row in measured.get(part, ()) if row.group in groups]
        if rows:
            panels.append(_bar_panel(rows, title, groups))
    if measured.get("growth"):
        panels.append(_growth_panel(measured["growth"]))

    lines = -(-len(panels) // 2)
    figure = new_figure(LIGHT.width, HEIGHT * lines, LIGHT)
    for number, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(lines, 2, number)
        style_axes(axes, LIGHT)
        panel(axes)
    figure.savefig(path, dpi=110)


def _bar_panel(rows: Sequence[Row], title: str, groups: Sequence[str]) -> Callable[[Axes], None]:
    """A panel with the ratios of each method, one bar per group."""

    def panel(axes: Axes) -> None:
        names = list(dict.fromkeys(row.what for row in rows))
        width = BAR / len(groups)
        for number, group in enumerate(groups):
            ratios = {row.what: row.ratio for row in rows if row.group == group}
            places = [names.index(name) + (number + 0.5) * width - BAR / 2 for name in ratios]
            axes.bar(places, list(ratios.values()), width, color=LIGHT.hue(number), label=group)

        axes.axhline(1, color=LIGHT.muted, linewidth=1)
        axes.set_xticks(range(len(names)), names, rotation=25, ha="right")
        axes.set_title(title, fontsize=10)
        axes.legend(fontsize=7, frameon=False)

    return panel


def _growth_panel(rows: Sequence[Row]) -> Callable[[Axes], None]:
    """A panel with the overhead over the control, one line per batch."""

    def panel(axes: Axes) -> None:
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
        axes.set_title("TransPrune-High over random-high, % of a prefill", fontsize=10)
        axes.legend(fontsize=7, frameon=False)

    return panel


def _growth_points(rows: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
    """Batch -> (visual tokens, percent above the control)."""
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.what == growth.OVER_CONTROL:
            cell = growth.CELLS[row.group]
            batch = f"{'ragged' if cell.ragged else 'batch'} {cell.batch}"
            points.setdefault(batch, []).append((cell.visual, 100 * (row.ratio - 1)))
    return {batch: sorted(line) for batch, line in points.items()}
