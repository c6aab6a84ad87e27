"""Training batches of the language model: scenes of a split with their questions, packed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from transprune.nano.batches import CHOICE_TOKENS, SHORT_TOKENS, PackedBatch, pack
from transprune.nano.captions import description
from transprune.nano.questions import CATEGORIES, Question
from transprune.nano.scenes import Scene, Split, draw, question_rng
from transprune.nano.train.curriculum import Mix, Scaffold, draw_questions
from transprune.nano.words import encode

DESCRIPTION_TOKENS = 84  # of the longest description; a shorter one is repeated to this length
TRAINING_CATEGORIES = (*CATEGORIES, "place", "located", "describe")


class LanguageBatch(NamedTuple):
    """A packed batch, and the category of each question.

    Attributes:
        packed: scenes and questions.
        categories: long [B, K of all lengths], numbers in `TRAINING_CATEGORIES`.
    """

    packed: PackedBatch
    categories: Tensor


def language_batch(
    indices: range,
    mix: Mix,
    scaffold: Scaffold,
    objects: tuple[int, int],
    source: str,
    split: Split = "train",
) -> LanguageBatch:
    """Draw scenes of a split with their questions, and pack them.

    Args:
        indices: numbers of the scenes.
        mix, scaffold: the questions to draw.
        objects: fewest and most objects of a scene.
        source: `"picture"` or `"words"`, the form in which the model gets the scene.
        split: of the scenes.
    """
    rows = []

    for index in indices:
        scene = draw(split, index, objects)
        rng = question_rng(split, index)
        short, choice = draw_questions(scene, mix, scaffold, rng)

        # a description draws from `rng`, so it is made only where it is used
        picture = source == "picture"
        seen = torch.from_numpy(scene.pixels) if picture else _description_ids(scene, rng)

        packed = (*pack(short, SHORT_TOKENS), *pack(choice, CHOICE_TOKENS))
        rows.append((seen, *packed, _category_numbers(short + choice)))

    # six columns; per scene [K, T] -> [B, K, T]
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    seen, short_ids, short_targets, choice_ids, choice_targets, categories = columns

    packed_batch = PackedBatch(
        seen, (short_ids, choice_ids), (short_targets, choice_targets), scaffold.object_sum
    )
    return LanguageBatch(packed_batch, categories)


def _description_ids(scene: Scene, rng: np.random.Generator) -> Tensor:
    """Token ids of a description, repeated until it fills all 84. -> long [84]."""
    words = description(scene, rng)
    filled = (words * DESCRIPTION_TOKENS)[:DESCRIPTION_TOKENS]
    return torch.tensor(encode(filled))


def _category_numbers(questions: list[Question]) -> Tensor:
    """-> long [K]."""
    return torch.tensor([TRAINING_CATEGORIES.index(question.category) for question in questions])
