"""Make a report: read, look, draw, write."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transprune import __version__
from transprune.report.gallery import Gallery, collect
from transprune.report.results import Results, read_results
from transprune.report.theme import Picture, need_extra

PAGE, NUMBERS, SCHEMA = "report.html", "figures.json", 1


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        page: the HTML file.
        numbers: the JSON file with everything plotted.
        figures: PNGs, each on white and (`-dark`) on a dark ground.
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
        out: where to; made if missing. Default `folder / "report"`.
        examples: how many examples to show.
        model: shows its insides in place of the run's own; `"none"` for no model.
        command: how to make it again; default `transprune report FOLDER`.
        progress: told what is being done.

    Raises:
        MissingExtra: matplotlib or jinja2 is not installed.
        RecordError: no run there, damaged, or of a newer schema; names file and line.
    """
    need_extra()
    from transprune.report.page import write_page

    progress("reading the run")
    results = read_results(folder)
    gallery = collect(results, examples, model, progress)
    progress("drawing")
    pictures = {
        picture.name: picture
        for picture in (*_curves(results, gallery), *gallery.pictures.values())
    }
    out = out or folder / "report"
    out.mkdir(parents=True, exist_ok=True)
    page = out / PAGE
    page.write_text(
        write_page(results, gallery, pictures, command or f"transprune report {folder}"),
        encoding="utf-8",
    )
    drawn = [*pictures.values(), *(example.picture for example in gallery.examples)]
    files = [file for picture in drawn for file in _write(picture, out)]
    numbers = out / NUMBERS
    document = {
        "schema": SCHEMA,
        "transprune": __version__,
        "figures": {p.name: p.numbers for p in drawn},
    }
    numbers.write_text(json.dumps(document, indent=1, allow_nan=True) + "\n", encoding="utf-8")
    return Report(page, numbers, tuple(files), tuple(gallery.missing))


def _curves(results: Results, gallery: Gallery) -> list[Picture]:
    """The figures that need the records only."""
    from transprune.report.figures.ablations import draw_ablations
    from transprune.report.figures.accuracy import draw_accuracy, draw_each
    from transprune.report.page import main_row

    pictures = []
    if series := results.series:
        pictures.append(draw_accuracy(series, gallery.floor))
        if len(series) > 4:
            pictures.append(draw_each(series))
    if groups := results.ablations:
        pictures.append(draw_ablations(groups, main_row(results)))
    return pictures


def _write(picture: Picture, out: Path) -> list[Path]:
    files = [out / f"{picture.name}.png", out / f"{picture.name}-dark.png"]
    for file, png in zip(files, (picture.light, picture.dark), strict=True):
        file.write_bytes(png)
    return files
