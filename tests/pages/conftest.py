"""The folder in which the pages' blocks run: what a reader has at hand, in small."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from cli.conftest import cli  # noqa: F401  the command line in this process
from pages.blocks import ROOT
from transprune import FastV
from transprune.demo import folder

QUESTIONS = ("what shape is the orange object?", "what color is the circle?")


@pytest.fixture
def reader(tmp_path, monkeypatch) -> Path:
    """The folder one is in, with the sources, pictures, and questions that the pages speak of."""
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "pictures").mkdir()

    scene = Image.open(folder() / "pictures" / "scene2.png").convert("RGB")
    for name in ("photo.jpg", "photo.png", "picture.jpg", "pictures/1.png", "pictures/2.png"):
        scene.save(tmp_path / name)
    # as large as a pyramid of several levels needs
    scene.resize((900, 900)).save(tmp_path / "huge.tif")

    for name in ("my.jsonl", "questions.jsonl"):
        (tmp_path / name).write_text("".join(_questions()), encoding="utf-8")
    FastV().save_pretrained(tmp_path / "my-recipe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _questions() -> Iterator[str]:
    """Lines of a questions file about both pictures."""
    for number in (1, 2):
        for question in QUESTIONS:
            yield (
                json.dumps(
                    {"image": f"pictures/{number}.png", "question": question, "answers": ["circle"]}
                )
                + "\n"
            )
