"""One self-contained HTML page of a table or figure, and the same as JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transprune import __version__
from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.manifest import write_json
from transprune.report.page import new_environment, page_style
from transprune.report.picture import Picture
from transprune.reproduce.chart import draw_chart
from transprune.reproduce.exhibits import NONE, Exhibit
from transprune.reproduce.result import Result, RowResult
from transprune.reproduce.words import cell_words, comparison_words

TEMPLATE = "table.html.jinja"
PAGE_FILE = "page.html"
RESULT_FILE = "result.json"
SCHEMA = 1


def write_numbers(folder: Path, result: Result, command: str) -> None:
    """Write `result.json`.

    Raises:
        RecordError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = {"schema": SCHEMA, "transprune": __version__, "command": command}
    write_json(folder / RESULT_FILE, {**document, **result.to_dict()})


def write_result(folder: Path, result: Result, command: str) -> Path:
    """Write `result.json` and `page.html`, with its chart as PNG; the path of the page.

    Raises:
        RecordError: the folder cannot be written.
    """
    write_numbers(folder, result, command)
    chart = draw_chart(result)
    charts = () if chart is None else (chart,)
    return _write_page(folder, result.exhibit, charts, command, result)


def write_figure(
    folder: Path, exhibit: Exhibit, pictures: Sequence[Picture], command: str, model: str
) -> Path:
    """Write the page of a figure, its PNG files and its numbers; the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {picture.name: picture.numbers for picture in pictures}
    write_json(
        folder / RESULT_FILE,
        {
            "schema": SCHEMA,
            "transprune": __version__,
            "command": command,
            "exhibit": exhibit.id,
            "model": model,
            "figures": numbers,
        },
    )
    return _write_page(folder, exhibit, pictures, command, None, model)


def _write_page(
    folder: Path,
    exhibit: Exhibit,
    pictures: Sequence[Picture],
    command: str,
    result: Result | None,
    model: str = "",
) -> Path:
    for picture in pictures:
        (folder / f"{picture.name}.png").write_bytes(picture.light)

    environment = new_environment("transprune.reproduce")
    environment.filters["png_uri"] = _png_uri
    content = {
        "css": page_style(environment),
        "version": __version__,
        "exhibit": exhibit,
        "command": command,
        "pictures": pictures,
        "model": model if result is None else result.model,
        "notes": [exhibit.note] if exhibit.note else [],
        "comparison": f"Drawn from {model}; the paper's figure is of {exhibit.model}.",
        **({"table": None} if result is None else _table(result)),
    }

    page = folder / PAGE_FILE
    page.write_text(environment.get_template(TEMPLATE).render(content), encoding="utf-8")
    return page


def _png_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _table(result: Result) -> dict[str, Any]:
    """What the template shows of a table."""
    exhibit = result.exhibit
    titles = [title_of(name) for name in exhibit.columns]
    has_acc = any(row.acc != NONE for row in exhibit.rows)

    return {
        "table": [_row(result, row, has_acc) for row in result.rows],
        "titles": (["Acc."] if has_acc else []) + titles,
        "comparison": comparison_words(result),
        "comparable": result.comparable,
        "costs": [_cost(exhibit, row) for row in result.rows],
        "unit": "T MACs" if exhibit.unit == "T" else "% of token-layers",
        "times": [_time(row) for row in result.rows if row.row.milliseconds != NONE],
        "remarks": [line for row in result.rows if (line := _remark(row))],
        "notes": result.notes,
        "setting": _setting(result.setting),
    }


def title_of(column: str) -> str:
    """The heading of a column; a benchmark that cannot be asked here keeps its name."""
    return BENCHMARKS[column].title if column in BENCHMARKS else column.upper()


def _row(result: Result, row: RowResult, has_acc: bool) -> dict[str, Any]:
    """A row as three lines for each cell: published, ours, difference."""
    values = [row.acc, *row.cells] if has_acc else list(row.cells)
    cells = [cell_words(value) for value in values]
    if row.row.unknown:
        # one reason for the whole row, beside its name
        for cell in cells:
            cell["note"] = ""
    return {"name": row.row.name, "note": row.row.unknown and "not run", "cells": cells}


def _cost(exhibit: Exhibit, row: RowResult) -> dict[str, str]:
    """Published and counted cost of a row."""
    counted = row.counted
    return {
        "name": row.row.name,
        "published": row.row.cost,
        "counted": "-" if counted is None else f"{counted.cost:.{_decimals(row.row.cost)}f}",
        "share": row.row.share,
        "counted_share": "-" if counted is None else f"{counted.share:.1f}",
        "exact": "-" if counted is None else f"{counted.exact:.1f}",
        "measured": "-" if row.exact_share is None else f"{row.exact_share:.1f}",
        "final": str(row.row.final or "-"),
        "counted_final": "-" if counted is None else str(counted.final),
    }


def _decimals(printed: str) -> int:
    """One digit more than printed, which shows how close the two are."""
    return len(printed.partition(".")[2]) + 1 if printed != NONE else 3


def _time(row: RowResult) -> dict[str, str]:
    """Published and measured time of a row."""
    timing = row.timing
    measured = "-"
    memory = "-"
    if timing is not None:
        measured = f"{timing.milliseconds:.1f} ({timing.low:.1f} to {timing.high:.1f})"
        memory = f"{timing.gigabytes:.2f}"

    return {
        "name": row.row.name,
        "published": row.row.milliseconds,
        "measured": measured,
        "published_memory": row.row.gigabytes,
        "memory": memory,
        "where": "" if timing is None else f"{timing.questions} questions, {timing.device}",
    }


def _remark(row: RowResult) -> str:
    """What is unknown or inferred of a row."""
    if row.row.unknown:
        return f"{row.row.name}: not run: {row.row.unknown}."
    return f"{row.row.name}: {row.row.inferred}." if row.row.inferred else ""


def _setting(setting: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Names and values of how the model ran."""
    lines = []
    for name, value in (setting or {}).items():
        text = value
        if isinstance(value, Mapping):
            text = ", ".join(f"{package} {number}" for package, number in value.items())
        lines.append((name, str(text)))
    return lines
