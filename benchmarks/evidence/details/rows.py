"""Where every method keeps tokens: how far its rows are from even, and from those of the objects."""

from __future__ import annotations

from collections.abc import Sequence

from ..cells import paragraph, table
from ..ladder import Ladder
from ..places import Places, percent_by_row

LEGEND = (
    "Percent of the kept tokens that would have to move to another row: for all rows to have as many "
    "(even), or as many as there are tokens of objects in them. The last line is the pictures' own: "
    "how many tokens show an object, and where. An unbiased choice of objects would follow it. "
    "The intervals are those of the kept tokens; where the objects are is taken as it is."
)
HEADS = (
    "method",
    "kept to the end",
    "from even, %",
    "from the objects, %",
    "upper / lower half, %",
)


def lines(ladders: Sequence[Ladder]) -> list[str]:
    """A table for each ladder, and the picture; nothing if no places were measured."""
    found: list[str] = []
    for ladder in ladders:
        if not ladder.places:
            continue

        rows = [_row(one) for one in ladder.places]
        if ladder.objects:
            rows.append(_objects(ladder.objects))
        title = f"**{ladder.title}** at 41 % of the exact cost:"
        found += ["", title, "", *table(HEADS, rows)]

    if not found:
        return []
    picture = "![Where tokens are kept: rows and maps](evidence/places.png)"
    return [*found, "", *paragraph(LEGEND), "", picture]


def _row(one: Places) -> tuple[str, ...]:
    """One method of the table."""
    objects = _interval(*one.from_objects) if one.from_objects else "-"
    return (
        f"`{one.method}`",
        f"{one.kept:.1f}",
        _interval(one.distance, one.low, one.high),
        objects,
        _halves(one.rows),
    )


def _objects(rate: Sequence[float]) -> tuple[str, ...]:
    """The pictures' own line: what an unbiased choice of objects would follow."""
    shares = percent_by_row(rate)
    apart = sum(abs(share - 100 / len(shares)) for share in shares) / 2
    return "*tokens of objects*", f"{sum(rate):.1f}", f"{apart:.1f}", "0", _halves(shares)


def _interval(value: float, low: float, high: float) -> str:
    """Percent, which cannot be negative."""
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _halves(rows: Sequence[float]) -> str:
    """Percent in the upper and in the lower half; a middle row belongs to neither."""
    half = len(rows) // 2
    return f"{sum(rows[:half]):.0f} / {sum(rows[-half:]):.0f}"
