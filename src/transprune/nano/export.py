"""Scenes as files: PNGs and their questions, as `transprune bench` reads them, and as the demo does."""

from __future__ import annotations

import json
from pathlib import Path

from transprune.nano.questions import ask_each, ask_surely
from transprune.nano.scenes import Split, draw, question_rng


def write_scenes(folder: Path, split: Split, numbers: range) -> int:
    """Write scenes and one question of each family about each; returns how many questions.

    Args:
        folder: made if missing; gets `<split>-<number>.png` files and `questions.jsonl`.
        split: which stream of scenes.
        numbers: which of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in numbers:
        scene, name = draw(split, number), f"{split}-{number}"
        scene.image().save(folder / f"{name}.png")
        for question in ask_each(scene, number):
            line = {
                "id": f"{name}-{question.family}",
                "image": f"{name}.png",
                "question": question.text,
                "answers": [question.answer],
                "family": question.family,
                "kind": question.kind,
            }
            lines.append(json.dumps(line))
    (folder / "questions.jsonl").write_text(
        "".join(line + "\n" for line in lines), encoding="utf-8"
    )
    return len(lines)


DEMO_FAMILIES = ("exist", "color", "shape", "read", "count", "position")


def write_demo(folder: Path) -> None:
    """Write the demo's pictures and questions into `folder`: the first six scenes of the demo split, as they come.

    Scene n is asked four families, from number n of `DEMO_FAMILIES` on and going round, so each comes up four times.
    """
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    scenes = []
    for number in range(len(DEMO_FAMILIES)):
        scene, rng, name = (
            draw("demo", number),
            question_rng("demo", number),
            f"scene{number + 1}.png",
        )
        scene.image().save(folder / "pictures" / name)
        families = [DEMO_FAMILIES[(number + turn) % len(DEMO_FAMILIES)] for turn in range(4)]
        asked = [question for family in families if (question := ask_surely(scene, family, rng))]
        rows = [
            {"family": q.family, "question": q.text.replace(" ?", "?"), "answer": q.answer}
            for q in asked
        ]
        scenes.append({"picture": name, "questions": rows})
    document = {"schema": 1, "split": "demo", "scenes": scenes}
    (folder / "questions.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
