"""The pictures and questions of the demo."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Question:
    """One question of the demo.

    Attributes:
        picture: name of the picture's file.
        category: what the question tests: `exist`, `color`, `shape`, `read`, `count` or `position`.
        question: its text.
        answer: the right answer.
    """

    picture: str
    category: str
    question: str
    answer: str

    def to_dict(self) -> dict[str, str]:
        """JSON-ready mapping. The category has the key `family`, as in the file."""
        return {
            "picture": self.picture,
            "family": self.category,
            "question": self.question,
            "answer": self.answer,
        }


def folder() -> Path:
    """The folder with the pictures and questions."""
    return Path(__file__).parent


def picture_file(name: str) -> Path:
    """The file of a picture."""
    return folder() / "pictures" / name


def read_questions() -> tuple[Question, ...]:
    """All questions, picture by picture."""
    data = json.loads((folder() / "questions.json").read_text(encoding="utf-8"))

    questions = []
    for scene in data["scenes"]:
        for entry in scene["questions"]:
            question = Question(
                scene["picture"], entry["family"], entry["question"], entry["answer"]
            )
            questions.append(question)

    return tuple(questions)
