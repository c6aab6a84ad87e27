"""Questions about short drawn videos, in the layout of Video-LLaVA's evaluation data."""

from __future__ import annotations

import json
from pathlib import Path

from transprune.bench.data.benchmarks.video_files import FILES
from transprune.bench.data.benchmarks.videos import MSVD, TGIF
from transprune.reproduce.smoke.rows import draw_question, each_scene

FRAMES = 3  # of a video; all show the same scene


def draw_videos(folder: Path) -> None:
    """Both benchmarks about videos; a video is a folder of its frames, which needs no encoder."""
    for benchmark, category in ((TGIF, "color"), (MSVD, "shape")):
        place = folder / benchmark.dataset
        questions = []
        answers = []
        for index, scene, rng in each_scene():
            name = f"video{index}"
            _write_frames(place / benchmark.videos / name, scene.image())
            asked = draw_question(scene, category, rng)
            number = f"v_{name}_0"
            questions.append({"video_name": name, "question_id": number, "question": asked.text})
            answers.append({"question_id": number, "answer": asked.answer, "type": 3})

        for file, rows in zip(FILES, (questions, answers), strict=True):
            (place / file).write_text(json.dumps(rows), encoding="utf-8")


def _write_frames(folder: Path, picture: object) -> None:
    folder.mkdir(parents=True)
    for number in range(FRAMES):
        picture.save(folder / f"{number}.png")  # type: ignore[attr-defined]
