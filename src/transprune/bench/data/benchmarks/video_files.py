"""Questions about videos, from two JSON files and a folder of videos."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from transprune.bench.data.benchmarks.base import COLLECTION, Asked, Benchmark
from transprune.bench.data.metrics import METRICS
from transprune.bench.data.tasks import Item, Questions, Task
from transprune.core import strict_json
from transprune.errors import TaskError
from transprune.models.clips import open_clip

FRAMES = 8  # of a video, as Video-LLaVA takes
ENDINGS = ("", ".mp4", ".avi", ".mov", ".mkv", ".gif", ".webm")  # "": a folder of frames
FILES = ("test_q.json", "test_a.json")
SKIPPED_SHOWN = 20


def read_videos(
    benchmark: Benchmark, data: Path | None, limit: int | None = None, frames: int = FRAMES
) -> Questions:
    """The questions of a benchmark about videos.

    Args:
        benchmark: which one.
        data: folder that holds its folder, directly or in `GPT_Zero_Shot_QA`.
        limit: at most so many questions, the first ones.
        frames: frames to take of each video.

    Raises:
        TaskError: no data, damaged files, or no question whose video is there.
    """
    folder = find_videos(benchmark, data)
    items: dict[str, Item] = {}
    skipped: list[str] = []
    for asked in read_asked(benchmark, folder):
        if limit is not None and len(items) == limit:
            break
        video = find_video(folder / benchmark.videos, asked.image)
        if video is None:
            skipped.append(f"question {asked.id!r}: no video {asked.image} in {benchmark.videos}")
        elif asked.id in items:
            skipped.append(f"question {asked.id!r}: the id was used before")
        else:
            items[asked.id] = _item(benchmark, asked, video, frames)

    if not items:
        raise TaskError(
            f"{folder} has no usable question: {'; '.join(skipped[:3]) or 'it is empty'}"
        )
    task = Task(benchmark.name, METRICS[benchmark.metric], tuple(items.values()))
    return Questions(str(folder), (task,), _shorten(skipped))


def find_videos(benchmark: Benchmark, data: Path | None) -> Path:
    """The folder of a benchmark about videos.

    Raises:
        TaskError: it is not there; where it is published is named.
    """
    name = benchmark.dataset
    if data is not None:
        for place in (data / name, data / COLLECTION / name):
            if place.is_dir():
                return place
    where = "no folder was given with --data" if data is None else f"{data} has no folder {name}"
    raise TaskError(
        f"no data: {where}. It is part of Video-LLaVA's evaluation data ({COLLECTION}), which is no "
        f"data set of the hub: {', '.join(FILES)} and the videos in {benchmark.videos}"
    )


def read_asked(benchmark: Benchmark, folder: Path) -> list[Asked]:
    """Every question with its answer, in the order of the questions.

    Raises:
        TaskError: a file that is missing or damaged, or a question without an answer.
    """
    answers = {}
    for row in _read_list(folder / FILES[1]):
        answers[str(row.get("question_id"))] = row

    found = []
    for number, row in enumerate(_read_list(folder / FILES[0])):
        answer = answers.get(str(row.get("question_id")), {})
        try:
            asked = benchmark.ask({**answer, **row})
        # a row of other people: a null, a missing key
        except (KeyError, TypeError, ValueError) as error:
            raise TaskError(
                f"{folder / FILES[0]}, entry {number}: not a question of {benchmark.title} with an "
                f"answer in {FILES[1]} ({error!r})"
            ) from error
        assert asked is not None
        found.append(asked)
    return found


def find_video(folder: Path, name: str) -> Path | None:
    """The file of a video, or the folder of its frames; None without one."""
    for ending in ENDINGS:
        place = folder / f"{name}{ending}"
        if place.exists():
            return place
    return None


def _item(benchmark: Benchmark, asked: Asked, video: Path, frames: int) -> Item:
    return Item(
        id=asked.id,
        image=asked.image,
        pictures=(),
        question=asked.question,
        answers=asked.answers,
        family=benchmark.name,
        kind=asked.kind,
        clips=(partial(open_clip, video, frames),),
    )


def _read_list(file: Path) -> list[Mapping[str, Any]]:
    """A JSON list of objects."""
    try:
        data = strict_json.read(file.read_bytes())
    except (OSError, ValueError) as error:
        raise TaskError(f"no data: {file} cannot be read ({error}); fetch it again") from error

    if not isinstance(data, list) or not all(isinstance(row, Mapping) for row in data):
        raise TaskError(f"{file} must be a list of objects; fetch it again")
    return data


def _shorten(skipped: list[str]) -> tuple[str, ...]:
    """The first reasons, and how many more there are."""
    more = len(skipped) - SKIPPED_SHOWN
    tail = (f"and {more} more questions",) if more > 0 else ()
    return (*skipped[:SKIPPED_SHOWN], *tail)
