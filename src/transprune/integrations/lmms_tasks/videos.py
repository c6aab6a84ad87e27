"""Tasks about videos: TGIF-QA and MSVD-QA, with exact match and, where there is one, a judge.

Three variables of the environment say where the data are and who judges: `TRANSPRUNE_DATA`,
`TRANSPRUNE_JUDGE` (an address that ends with `/v1`) and `TRANSPRUNE_JUDGE_MODEL`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import datasets
from lmms_eval.api.task import ConfigurableMessagesTask
from loguru import logger

from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.benchmarks.video_files import find_video, find_videos, read_asked
from transprune.bench.data.judge import PROTOCOL, Judge
from transprune.bench.data.metrics import METRICS
from transprune.errors import BenchError, TaskError

DATA = "TRANSPRUNE_DATA"
JUDGE = "TRANSPRUNE_JUDGE"
JUDGE_MODEL = "TRANSPRUNE_JUDGE_MODEL"


class _VideoQa(ConfigurableMessagesTask):
    """Questions from two JSON files. The name of the judge is in the configuration of the task."""

    benchmark: ClassVar[str]

    def __init__(self, config: Mapping[str, Any]) -> None:
        own = {name: value for name, value in config.items() if name != "class"}
        judge = judge_of_environment()
        if judge is not None:
            found = {"judge": judge.model, "judge_url": judge.url, "judge_protocol": PROTOCOL}
            own["metadata"] = {**own.get("metadata", {}), **found}
        super().__init__(config=own)

    def download(self, dataset_kwargs: Any = None) -> None:
        """Read the rows; nothing is fetched."""
        rows = video_rows(self.benchmark, os.environ.get(DATA))
        self.dataset = datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})
        self.dataset_no_image = self.dataset


class TgifQa(_VideoQa):
    """TGIF-QA."""

    benchmark: ClassVar[str] = "tgif"


class MsvdQa(_VideoQa):
    """MSVD-QA."""

    benchmark: ClassVar[str] = "msvd"


def video_rows(name: str, data: str | None) -> list[dict[str, str]]:
    """Rows with the path of their video; those without one are left out, and named.

    Raises:
        TaskError: no data, or no row with its video.
    """
    benchmark = BENCHMARKS[name]
    folder = find_videos(benchmark, Path(data).absolute() if data else None)
    rows = []
    missing = []
    for asked in read_asked(benchmark, folder):
        file = find_video(folder / benchmark.videos, asked.image)
        if file is None:
            missing.append(asked.image)
            continue
        row = {"question_id": asked.id, "question": asked.question, "answer": asked.answers[0]}
        rows.append({**row, "video": str(file)})

    if missing:
        logger.warning(f"{name}: {len(missing)} questions without their video: {missing[:5]}")
    if not rows:
        raise TaskError(f"{folder} has no question whose video is in {benchmark.videos}")
    return rows


def video(doc: Mapping[str, Any]) -> list[Any]:
    """The video of a row."""
    # said in full, because a folder of frames has no ending that tells what it is
    return [{"type": "video", "url": doc["video"]}]


def results(doc: Mapping[str, Any], found: Sequence[str]) -> dict[str, Any]:
    """Exact match, and the judge's verdict where there is a judge; a missing verdict is None."""
    scores: dict[str, Any] = {
        "exact_match": METRICS["exact_match"].grade(found[0], [doc["answer"]])
    }
    judge = judge_of_environment()
    if judge is None:
        return scores

    question = doc["question"].splitlines()[0]
    try:
        verdict = judge.ask(question, doc["answer"], found[0])
    # no answer of the judge is no wrong answer: it gets no grade
    except BenchError as error:
        logger.error(f"question {doc['question_id']}: {error}")
        return {**scores, "judge_accuracy": None, "judge_grade": None}

    return {**scores, "judge_accuracy": float(verdict.right), "judge_grade": float(verdict.grade)}


def judged_mean(values: Sequence[float | None]) -> float:
    """Mean over the answers that have a verdict; how many have none is said. NaN if none has."""
    given = [value for value in values if value is not None]
    if len(given) < len(values):
        logger.warning(f"{len(values) - len(given)} of {len(values)} answers have no verdict")
    return sum(given) / len(given) if given else float("nan")


@cache
def judge_of_environment() -> Judge | None:
    """The judge that the environment names; None without one.

    Raises:
        BenchError: an address without a model.
    """
    url = os.environ.get(JUDGE)
    model = os.environ.get(JUDGE_MODEL)
    if url and not model:
        raise BenchError(f"{JUDGE} names a judge; {JUDGE_MODEL} must name its model")
    return Judge(url, model) if url and model else None
