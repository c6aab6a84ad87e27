"""Rows of each benchmark about drawn scenes, with the columns of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np

from transprune.bench.data.metrics import PERCEPTION
from transprune.bench.data.metrics.grouped import ROTATION
from transprune.nano import questions, scenes
from transprune.nano.short_questions import Question, Rng
from transprune.nano.words import OPTIONS

Row = dict[str, Any]
SCENES = 20  # of each benchmark: two for each of MME's categories
SPLITS = ("adversarial", "popular", "random")
DRAWS = 200  # until a question has the answer that is needed
PEOPLE = 10  # who answered each question of VQAv2 and TextVQA


def picture(scene: scenes.Scene, name: str) -> Row:
    """A picture as it lies in a cell: the bytes of a file, and its name."""
    buffer = BytesIO()
    scene.image().save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": name}


def each_scene() -> Iterator[tuple[int, scenes.Scene, Rng]]:
    """Number, scene and random stream of every drawn scene."""
    for index in range(SCENES):
        yield index, scenes.draw("test", index), np.random.default_rng(index)


def draw_question(scene: scenes.Scene, category: str, rng: Rng, answer: str = "") -> Question:
    """A question of a category, with a given answer if one is asked for."""
    for _ in range(DRAWS):
        found = questions.ask(scene, category, rng)
        if found is not None and answer in ("", found.answer):
            return found
    raise AssertionError(f"no {category} question with the answer {answer!r}")


def mme() -> list[Row]:
    """Two questions about each picture, one of them answered yes, over the ten categories."""
    rows: list[Row] = []
    for index, scene, rng in each_scene():
        for answer in ("Yes", "No"):
            asked = draw_question(scene, "exist", rng, answer.lower())
            rows.append(
                {
                    "question_id": f"{index:04d}.png",
                    "image": picture(scene, f"{index:04d}.png"),
                    "question": f"{asked.text} Please answer yes or no.",
                    "answer": answer,
                    "category": PERCEPTION[index % len(PERCEPTION)],
                }
            )

    return rows


def pope() -> list[Row]:
    """One positive and one negative of the three splits in turn."""
    rows: list[Row] = []
    for index, scene, rng in each_scene():
        for answer in ("yes", "no"):
            asked = draw_question(scene, "exist", rng, answer)
            rows.append(
                {
                    "id": str(len(rows)),
                    "question_id": str(len(rows) + 1),
                    "question": asked.text,
                    "answer": answer,
                    "image_source": f"scene_{index:06d}",
                    "image": picture(scene, f"scene_{index:06d}.png"),
                    "category": SPLITS[index % len(SPLITS)],
                }
            )

    return rows


def gqa() -> list[Row]:
    """Questions that name their picture."""
    rows: list[Row] = []
    for index, scene, rng in each_scene():
        asked = draw_question(scene, "color", rng)
        rows.append(
            {
                "id": f"2{index:07d}",
                "imageId": f"n{index:06d}",
                "question": asked.text,
                "answer": asked.answer,
            }
        )

    return rows


def gqa_pictures() -> list[Row]:
    """The pictures of these questions, a table of its own."""
    return [
        {"id": f"n{index:06d}", "image": picture(scene, f"n{index:06d}.jpg")}
        for index, scene, _ in each_scene()
    ]


def vqav2() -> list[Row]:
    """Questions with ten answers."""
    rows: list[Row] = []
    for index, scene, rng in each_scene():
        asked = draw_question(scene, ("color", "shape")[index % 2], rng)
        answers = []
        # VQA's score is agreement with ten people; here they agree
        for number in range(PEOPLE):
            answers.append(
                {
                    "answer": asked.answer,
                    "answer_confidence": "yes",
                    "answer_id": number + 1,
                }
            )

        rows.append(
            {
                "question_type": "what",
                "question": asked.text,
                "answers": answers,
                "image_id": index,
                "question_id": 1000 * index,
                "image": picture(scene, f"{index}.jpg"),
            }
        )

    return rows


def textvqa() -> list[Row]:
    """Questions about characters, with all characters of the scene as what an OCR system read."""
    rows: list[Row] = []
    for index, scene, rng in each_scene():
        asked = draw_question(scene, "read", rng)
        tokens = [thing.character for thing in scene.objects if thing.character]
        rows.append(
            {
                "image_id": f"{index:016x}",
                "question_id": 34602 + index,
                "question": asked.text,
                "image": picture(scene, f"{index:016x}.jpg"),
                "ocr_tokens": tokens,
                "answers": [asked.answer] * PEOPLE,
            }
        )

    return rows


def seed() -> list[Row]:
    """Four options in columns, the picture in a list; one row about a video, which is left out."""
    rows: list[Row] = []
    for index, scene, rng in each_scene():
        asked, options, letter = _choice(scene, rng)
        rows.append(
            {
                "answer": letter,
                **{f"choice_{name}": text for name, text in zip("abcd", options, strict=True)},
                "data_id": f"{index}_0",
                "data_type": "video" if index == SCENES - 1 else "image",
                "question": asked.text,
                "question_id": str(100 + index),
                "image": [picture(scene, f"{index}.png")],
            }
        )

    return rows


def scienceqa() -> list[Row]:
    """Options in a list, the answer as its number, a hint for every second question."""
    rows: list[Row] = []
    for index, scene, rng in each_scene():
        asked, options, letter = _choice(scene, rng)
        rows.append(
            {
                "image": picture(scene, "image.png"),
                "question": asked.text,
                "choices": options,
                "answer": OPTIONS.index(letter),
                "hint": "there are objects in the image ." if index % 2 else "",
            }
        )

    return rows


def mmbench() -> list[Row]:
    """Every question in all four orders of its options; empty cells are the text `nan`."""
    rows: list[Row] = []
    for index, scene, rng in each_scene():
        asked, options, letter = _choice(scene, rng)
        right = options[OPTIONS.index(letter)]
        # CircularEval: the options in every rotation, right only if all of them are
        for turn in range(len(options)):
            turned = options[turn:] + options[:turn]
            rows.append(
                {
                    "index": index + turn * ROTATION,
                    "question": asked.text,
                    "hint": "nan",
                    "answer": OPTIONS[turned.index(right)],
                    **dict(zip(OPTIONS, turned, strict=True)),
                    "category": "attribute_recognition",
                    "image": picture(scene, f"{index}.jpg"),
                    "source": "drawn",
                    "L2-category": "finegrained_perception",
                    "comment": "nan",
                    "split": "dev",
                }
            )

    return rows


def _choice(scene: scenes.Scene, rng: Rng) -> tuple[Question, list[str], str]:
    """A question with four options and the letter of the right one."""
    asked = draw_question(scene, ("color", "shape")[int(rng.integers(2))], rng)
    text, letter = questions.draw_options(scene, asked, rng)
    # "A red B blue C ...": every second word is an option
    return asked, text.split()[1::2], letter


# benchmark -> its rows, for the configuration that is asked
ROWS: dict[str, Callable[[], list[Row]]] = {
    "mme": mme,
    "pope": pope,
    "gqa": gqa,
    "vqav2": vqav2,
    "textvqa": textvqa,
    "seed": seed,
    "sqa": scienceqa,
    "mmb": mmbench,
}
