"""Make a report: read the run, measure the model, draw, write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from transprune import __version__
from transprune.report.gallery import Gallery, collect
from transprune.report.results import Results, read_results
from transprune.report.theme import Picture, need_extra

PAGE_FILE = "report.html"
NUMBERS_FILE = "figures.json"
NUMBERS_SCHEMA = 1
FEW_METHODS = 4  # up to so many are told apart in one figure, without a panel for each


@dataclass(frozen=True)
class Report:
    """The files of a report.

    Attributes:
        page: the HTML file.
        numbers: the JSON file with everything plotted.
        figures: PNG files, each figure on white and (`-dark`) on a dark background.
        missing: sentences about what could not be shown.
    """

    page: Path
    numbers: Path
    figures: tuple[Path, ...]
    missing: tuple[str, ...]


def build_report(
    folder: Path,
    out: Path | None = None,
    *,
    examples: int = 6,
    model: str | None = None,
    command: str = "",
    progress: Callable[[str], None] = lambda step: None,
) -> Report:
    """Write the report of the run in `folder`; the run itself is not changed.

    Args:
        folder: of a benchmark run.
        out: folder to write to, made if missing. Default `folder / "report"`.
        examples: how many examples to show.
        model: model to measure in place of the run's own; `"none"` for no model.
        command: command that makes the report again. Default `transprune report FOLDER`.
        progress: called with the name of each step.

    Raises:
        MissingExtra: matplotlib or jinja2 is not installed.
        RecordError: no run there, damaged, or of a newer schema; names file and line.
    """
    # before anything is computed: a missing extra is reported at once
    need_extra()
    from transprune.report.page import write_page

    progress("reading the run")
    results = read_results(folder)
    gallery = collect(results, examples, model, progress)

    progress("drawing")
    pictures = _record_figures(results, gallery)
    pictures |= gallery.pictures

    # nothing is written before everything is drawn, so a failure leaves no half report behind
    out = out or folder / "report"
    out.mkdir(parents=True, exist_ok=True)
    page = out / PAGE_FILE
    html = write_page(results, gallery, pictures, command or f"transprune report {folder}")
    page.write_text(html, encoding="utf-8")

    drawn = [*pictures.values(), *(example.picture for example in gallery.examples)]
    files: list[Path] = []
    for picture in drawn:
        files += _write_png(picture, out)
    numbers = _write_numbers(drawn, out)
    return Report(page, numbers, tuple(files), tuple(gallery.missing))


def _record_figures(results: Results, gallery: Gallery) -> dict[str, Picture]:
    """The figures that need the records only, by name."""
    from transprune.report.figures.ablations import draw_ablations
    from transprune.report.figures.accuracy import draw_accuracy
    from transprune.report.figures.panels import draw_panels
    from transprune.report.page import main_row

    pictures = {}
    series = results.series
    if series:
        pictures["accuracy"] = draw_accuracy(series, gallery.floor)
    if len(series) > FEW_METHODS:
        pictures["methods"] = draw_panels(series)

    groups = results.ablations
    if groups:
        pictures["ablations"] = draw_ablations(groups, main_row(results))
    return pictures


def _write_png(picture: Picture, out: Path) -> list[Path]:
    light = out / f"{picture.name}.png"
    light.write_bytes(picture.light)

    dark = out / f"{picture.name}-dark.png"
    dark.write_bytes(picture.dark)
    return [light, dark]


def _write_numbers(pictures: Iterable[Picture], out: Path) -> Path:
    file = out / NUMBERS_FILE
    numbers = {picture.name: picture.numbers for picture in pictures}
    document = {
        "schema": NUMBERS_SCHEMA,
        "transprune": __version__,
        "figures": numbers,
    }

    # an AUC may be NaN, which Python's JSON can write and read
    file.write_text(json.dumps(document, indent=1, allow_nan=True) + "\n", encoding="utf-8")
    return file
