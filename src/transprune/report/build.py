"""Make a report: read the run, measure the model, draw, write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transprune import __version__
from transprune.core.strict_json import write
from transprune.core.targets import file_problem, folder_problem
from transprune.errors import BenchError
from transprune.report.gallery import Gallery, collect
from transprune.report.picture import Picture
from transprune.report.progress import Progress, silent
from transprune.report.results import Results, read_results
from transprune.report.theme import need_extra

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
    progress: Progress = silent,
) -> Report:
    """Write the report of the run in `folder`; the run itself is not changed.

    Args:
        folder: of a benchmark run.
        out: folder to write to, made if missing. Default `folder / "report"`.
        examples: how many examples to show.
        model: model to measure in place of the run's own; `"none"` for no model.
        command: command that makes the report again. Default `transprune report FOLDER`.
        progress: called with one line, such as `drawing accuracy`, at the start of every step.
            The longest are the first two: reading a run of 100,000 answers, and its intervals, take
            15 seconds each on one core.

    Raises:
        MissingExtra: matplotlib or jinja2 is not installed.
        BenchError: nothing can be written to `out`, or `examples` is below 0.
        RecordError: no run there, damaged, or of a newer schema; names file and line.
    """
    # before anything is read or computed, which takes minutes: whatever would stop it at the end
    need_extra()
    from transprune.report.page import write_page

    if examples < 0:
        raise BenchError(f"examples must be 0 or more; got {examples}")
    out = out or folder / "report"
    # without a run there is nothing to write, and the error is about the run
    if folder.is_dir():
        _check_target(out)

    results = read_results(folder, progress=progress)
    gallery = collect(results, examples, model, progress)

    pictures = _record_figures(results, gallery, progress)
    pictures |= gallery.pictures

    # nothing is written before everything is drawn, so a failure leaves no half report behind
    progress("writing")
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


def _check_target(out: Path) -> None:
    """Raise BenchError where the report could not be written."""
    problem = folder_problem(out)
    # a folder by the name of one of the two files is in the way as well
    for name in (PAGE_FILE, NUMBERS_FILE):
        if not problem and (out / name).exists():
            problem = file_problem(out / name)
    if problem:
        raise BenchError(f"the report cannot be written: {problem}")


def _record_figures(results: Results, gallery: Gallery, progress: Progress) -> dict[str, Picture]:
    """The figures that need the records only, by name."""
    from transprune.report.figures.ablations import draw_ablations
    from transprune.report.figures.accuracy import draw_accuracy
    from transprune.report.figures.panels import draw_panels
    from transprune.report.page import main_row

    pictures = {}
    series = results.series
    if series:
        progress("drawing accuracy")
        pictures["accuracy"] = draw_accuracy(series, gallery.floor)
    if len(series) > FEW_METHODS:
        progress("drawing one panel per method")
        pictures["methods"] = draw_panels(series)

    groups = results.ablations
    if groups:
        progress("drawing ablations")
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

    # an AUC may be NaN, which JSON does not have; it becomes null
    file.write_text(write(document, indent=1) + "\n", encoding="utf-8")
    return file
