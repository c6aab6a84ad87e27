"""A benchmark as questions: its rows, asked as its papers ask them, with their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transprune.bench.data.benchmarks.base import Asked, Benchmark
from transprune.bench.data.benchmarks.files import find_dataset, find_files
from transprune.bench.data.benchmarks.parquet import (
    Place,
    StoredPicture,
    need_parquet,
    read_rows,
)
from transprune.bench.data.benchmarks.video_files import FRAMES, read_videos
from transprune.bench.data.metrics import METRICS
from transprune.bench.data.tasks import Item, Questions, Task
from transprune.errors import TaskError

SKIPPED_SHOWN = 20  # rows named one by one among those that are left out


def read_benchmark(
    benchmark: Benchmark,
    data: Path | None = None,
    limit: int | None = None,
    frames: int = FRAMES,
) -> Questions:
    """The questions of a benchmark.

    Args:
        benchmark: which one.
        data: folder of data sets; None for the hub and its cache.
        limit: at most so many questions, the first ones.
        frames: of each video.

    Raises:
        MissingExtra: pyarrow is not installed.
        TaskError: no data, or no usable row.
    """
    if benchmark.videos:
        return read_videos(benchmark, data, limit, frames)
    need_parquet()
    folder = find_dataset(benchmark, data)
    files = find_files(benchmark, folder, benchmark.config)
    pictures = _picture_places(benchmark, folder)

    items: dict[str, Item] = {}
    skipped: list[str] = []
    for place, row in read_rows(files, benchmark.columns, benchmark.image):
        if limit is not None and len(items) == limit:
            break
        asked = _ask(benchmark, place, row)
        if asked is None:
            continue

        picture = _picture(benchmark, place, asked, pictures)
        reason = _problem(asked, picture, items)
        if picture is None or reason:
            skipped.append(f"{place}: {reason}")
            continue
        items[asked.id] = _item(benchmark, asked, picture)

    if not items:
        raise TaskError(f"{folder} has no usable row: {'; '.join(skipped[:3]) or 'it is empty'}")
    task = Task(benchmark.name, METRICS[benchmark.metric], tuple(items.values()))
    return Questions(str(folder), (task,), _shorten(skipped))


def _ask(benchmark: Benchmark, place: Place, row: Mapping[str, Any]) -> Asked | None:
    """The row as a question, with an id where the row has none."""
    try:
        asked = benchmark.ask(row)
    # a row of other people: a null, a text in place of a list
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise TaskError(f"{place}: not a row of {benchmark.title} ({error!r})") from error

    if asked is None or asked.id:
        return asked
    number = f"{place.file.stem}/{place.group}/{place.row}"
    return replace(asked, id=number, image=asked.image or number)


def _picture_places(benchmark: Benchmark, folder: Path) -> dict[str, Place]:
    """Name of a picture -> its place, where pictures lie in a table of their own."""
    if not benchmark.pictures_config:
        return {}

    files = find_files(benchmark, folder, benchmark.pictures_config)
    column = benchmark.picture_id
    places = {}
    for place, row in read_rows(files, (column, benchmark.image), benchmark.image):
        places[str(row[column])] = place
    return places


def _picture(
    benchmark: Benchmark, place: Place, asked: Asked, pictures: Mapping[str, Place]
) -> StoredPicture | None:
    """The picture of a row; None where its table has none of that name."""
    where = pictures.get(asked.image) if benchmark.pictures_config else place
    return None if where is None else StoredPicture(where, benchmark.image)


def _problem(asked: Asked, picture: StoredPicture | None, known: Mapping[str, Item]) -> str:
    """Why a row cannot be used, or an empty text."""
    if picture is None:
        return f"no picture of the name {asked.image!r}"
    if asked.id in known:
        return f"the id {asked.id!r} was used before"
    if not asked.answers:
        return "no answer"
    return ""


def _item(benchmark: Benchmark, asked: Asked, picture: StoredPicture) -> Item:
    return Item(
        id=asked.id,
        image=asked.image,
        pictures=(picture,),
        question=asked.question,
        answers=asked.answers,
        family=benchmark.name,
        kind=asked.kind,
    )


def _shorten(skipped: list[str]) -> tuple[str, ...]:
    """The first reasons, and how many more there are."""
    shown: Iterator[str] = iter(skipped[:SKIPPED_SHOWN])
    more = len(skipped) - SKIPPED_SHOWN
    return (*shown, f"and {more} more rows") if more > 0 else tuple(shown)
