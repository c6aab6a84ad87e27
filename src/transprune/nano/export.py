"""Write scenes as files: PNGs with a questions file, for `transprune bench` or for the demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from transprune.errors import SceneError
from transprune.nano.questions import ask_each, ask_with_retries
from transprune.nano.scenes import Split, draw, question_rng

DEMO_CATEGORIES = ("exist", "color", "shape", "read", "count", "position")
DEMO_QUESTIONS = 4  # per scene


def write_scenes(folder: Path, split: Split, numbers: range) -> int:
    """Write scenes, and one question of each category about each; return the number of questions.

    Args:
        folder: made if missing; gets `<split>-<number>.png` files and `questions.jsonl`.
        split: which stream of scenes.
        numbers: which scenes of that stream.

    Raises:
        SceneError: a file cannot be written.
    """
    try:
        return _write_scenes(folder, split, numbers)
    except OSError as error:
        raise SceneError(
            f"cannot write {error.filename or folder}: {error.strerror or error}; choose another "
            "folder, or make room"
        ) from error


def _write_scenes(folder: Path, split: Split, numbers: range) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []

    for number in numbers:
        scene = draw(split, number)
        name = f"{split}-{number}"
        scene.image().save(folder / f"{name}.png")

        # the number of the scene is also the seed of its questions
        for question in ask_each(scene, number):
            lines.append(json.dumps(benchmark_record(name, question)) + "\n")

    (folder / "questions.jsonl").write_text("".join(lines), encoding="utf-8")
    return len(lines)


class Asked(Protocol):
    """What a line of a questions file says of a question."""

    @property
    def category(self) -> str:
        """What it tests."""

    @property
    def kind(self) -> str:
        """Divides a category further."""

    @property
    def text(self) -> str:
        """As it is asked."""

    @property
    def answer(self) -> str:
        """The right answer."""


def benchmark_record(name: str, question: Asked) -> dict[str, Any]:
    """One line of a questions file; there the category has the key `family`."""
    return {
        "id": f"{name}-{question.category}",
        "image": f"{name}.png",
        "question": question.text,
        "answers": [question.answer],
        "family": question.category,
        "kind": question.kind,
    }


def write_demo(folder: Path) -> None:
    """Write the demo's pictures and questions into `folder`: the first six scenes of its split.

    Scene n gets questions of four categories: number n of `DEMO_CATEGORIES` and the three after it,
    cyclically. So each category comes up four times.
    """
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    scenes = []

    for number in range(len(DEMO_CATEGORIES)):
        name = f"scene{number + 1}.png"
        draw("demo", number).image().save(folder / "pictures" / name)
        scenes.append({"picture": name, "questions": _demo_questions(number)})

    document = {"schema": 1, "split": "demo", "scenes": scenes}
    text = json.dumps(document, indent=1) + "\n"
    (folder / "questions.json").write_text(text, encoding="utf-8")


def _demo_questions(number: int) -> list[dict[str, str]]:
    """The questions about one demo scene, as they stand in the demo's questions file."""
    scene = draw("demo", number)
    rng = question_rng("demo", number)
    records = []

    for turn in range(DEMO_QUESTIONS):
        category = DEMO_CATEGORIES[(number + turn) % len(DEMO_CATEGORIES)]
        question = ask_with_retries(scene, category, rng)

        if question is not None:
            # the tokenizer splits the mark off again; people write it without the space
            text = question.text.replace(" ?", "?")
            records.append({"family": category, "question": text, "answer": question.answer})

    return records
