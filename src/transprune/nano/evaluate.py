"""Measure how well a checkpoint of the bundled kind answers, per category and kind of question.

Each scene gets two questions of every short category and one multiple choice of every kind. They
are packed behind one picture (see `packed`), with the same answers as one prompt per question.
The blank baseline is the same with the picture blanked: the score of an educated guess.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transprune.errors import CheckpointError
from transprune.nano.batches import (
    CHOICE_TOKENS,
    SHORT_TOKENS,
    PackedBatch,
    answer_tokens,
    pack,
    right_answers,
)
from transprune.nano.messages import first_line
from transprune.nano.questions import (
    CATEGORIES,
    SHORT_CATEGORIES,
    TRIES,
    Question,
    ask,
    ask_with_retries,
)
from transprune.nano.scenes import Scene, Split, draw, question_rng

PER_CATEGORY = 2  # questions of each short category about a scene
CHOICES = ("color", "shape", "read")  # kinds of multiple-choice questions
BATCH = 32  # scenes at a time
BLANK = 125  # grey level of a blanked picture

# fills the place of a question that a scene does not have; it is not counted
_PLACEHOLDER = Question("", "", "is there ?", "no", ())


@dataclass(frozen=True)
class Tally:
    """The number of right answers out of the questions asked."""

    right: int
    asked: int

    @property
    def percent(self) -> float:
        """Accuracy, 0..100."""
        return 100 * self.right / max(1, self.asked)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"right": self.right, "asked": self.asked, "percent": round(self.percent, 2)}


@dataclass(frozen=True)
class Scores:
    """The result of `evaluate`.

    Attributes:
        split, scenes: the evaluated scenes, numbers 0 to `scenes` - 1.
        blank: whether the pictures were blanked.
        categories: per category of questions.
        kinds: per `category/kind`.
    """

    split: str
    scenes: int
    blank: bool
    categories: dict[str, Tally]
    kinds: dict[str, Tally]

    @property
    def mean(self) -> float:
        """Mean of the categories' accuracies, percent."""
        return sum(tally.percent for tally in self.categories.values()) / len(self.categories)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; in JSON the categories have the key `families`."""
        categories = {name: tally.to_dict() for name, tally in self.categories.items()}
        kinds = {name: tally.to_dict() for name, tally in sorted(self.kinds.items())}

        return {
            "split": self.split,
            "scenes": self.scenes,
            "blank": self.blank,
            "mean": round(self.mean, 2),
            "families": categories,
            "kinds": kinds,
        }


def load_trained(folder: Path) -> Any:
    """Load a checkpoint of the bundled kind in fp32, in evaluation mode.

    Raises:
        CheckpointError: no checkpoint there, one of another architecture, or damaged weights.
    """
    from transformers import AutoConfig, LlavaForConditionalGeneration

    from transprune.nano.words import WORDS

    try:
        config = AutoConfig.from_pretrained(folder)
    # a missing file, or values that no configuration has
    except Exception as error:
        raise CheckpointError(f"no checkpoint at {folder}: {first_line(error)}") from error

    vocabulary = getattr(getattr(config, "text_config", None), "vocab_size", None)
    if config.model_type != "llava" or vocabulary != len(WORDS):
        raise CheckpointError(
            f"{folder / 'config.json'}: expected a LLaVA with the bundled vocabulary of "
            f"{len(WORDS)} words; got {config.model_type} with {vocabulary}. "
            "Measure other models with `transprune bench`."
        )

    try:
        model, report = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:
        raise CheckpointError(
            f"the weights at {folder} cannot be loaded: {first_line(error)}"
        ) from error

    # transformers would fill them with random numbers, and only log it
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"{folder} lacks {len(missing)} weights, the first: {missing[0]}")
    return model.eval()


@torch.no_grad()
def evaluate(
    model: Any,
    split: Split = "validation",
    scenes: int = 500,
    *,
    blank: bool = False,
    masked_layers: Container[int] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Ask a model about the first scenes of a split.

    Args:
        model: a LLaVA of the bundled kind.
        split: `"validation"` to choose by, `"test"` to report.
        scenes: how many.
        blank: put one grey picture in place of every scene.
        masked_layers: decoder layers in which questions cannot attend to the picture.
        progress: called with the number of finished scenes and of all scenes.
    """
    verdicts: dict[str, list[bool]] = defaultdict(list)

    for start in range(0, scenes, BATCH):
        numbers = range(start, min(start + BATCH, scenes))
        drawn = [draw(split, number) for number in numbers]
        asked = [
            _questions(scene, split, number) for scene, number in zip(drawn, numbers, strict=True)
        ]

        # one forward answers all questions of the batch
        batch = _batch(drawn, asked, blank)
        right = right_answers(answer_tokens(model, batch, masked_layers), batch)
        rows = right.view(len(numbers), -1).tolist()  # [B * K] -> [B, K]

        for questions, row in zip(asked, rows, strict=True):
            _record(verdicts, questions, row)

        progress(numbers.stop, scenes)

    return _scores(split, scenes, blank, verdicts)


def _record(
    verdicts: dict[str, list[bool]], questions: list[Question | None], right: list[bool]
) -> None:
    """Add the verdicts about one scene, under the category and under `category/kind`."""
    for question, verdict in zip(questions, right, strict=True):
        if question is not None:
            verdicts[question.category].append(verdict)
            verdicts[f"{question.category}/{question.kind}"].append(verdict)


def _scores(split: str, scenes: int, blank: bool, verdicts: dict[str, list[bool]]) -> Scores:
    """Count the verdicts."""
    tallies = {name: Tally(sum(right), len(right)) for name, right in verdicts.items()}
    categories = {name: tallies[name] for name in CATEGORIES if name in tallies}

    kinds = {}
    for name, tally in tallies.items():
        kind = name.partition("/")[2]
        if kind:  # empty where a category has no kinds
            kinds[name] = tally

    return Scores(split, scenes, blank, categories, kinds)


def _questions(scene: Scene, split: Split, number: int) -> list[Question | None]:
    """The questions about a scene, in a fixed order; None where the scene has no such question."""
    rng = question_rng(split, number)
    questions = []

    for category in SHORT_CATEGORIES:
        for _ in range(PER_CATEGORY):
            questions.append(ask_with_retries(scene, category, rng))

    for kind in CHOICES:
        questions.append(_multiple_choice(scene, kind, rng))

    return questions


def _multiple_choice(scene: Scene, kind: str, rng: np.random.Generator) -> Question | None:
    """A multiple-choice question of one kind; three times the usual draws, for three kinds."""
    for _ in range(len(CHOICES) * TRIES):
        question = ask(scene, "mc", rng)
        if question is not None and question.kind == kind:
            return question

    return None


def _batch(scenes: list[Scene], asked: list[list[Question | None]], blank: bool) -> PackedBatch:
    """Pack scenes and questions; short questions and choices have branches of two lengths."""
    pixels = np.stack([scene.pixels for scene in scenes])
    if blank:
        pixels = np.full_like(pixels, BLANK)

    packed = []
    for questions in asked:
        filled = [question or _PLACEHOLDER for question in questions]
        short = pack(filled[: -len(CHOICES)], SHORT_TOKENS)
        choice = pack(filled[-len(CHOICES) :], CHOICE_TOKENS)
        packed.append((*short, *choice))

    # per scene [K, T] -> [B, K, T]
    columns = [torch.stack(column) for column in zip(*packed, strict=True)]
    short_ids, short_targets, choice_ids, choice_targets = columns
    return PackedBatch(
        torch.from_numpy(pixels), (short_ids, choice_ids), (short_targets, choice_targets)
    )
