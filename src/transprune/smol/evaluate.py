"""How well an assembled model answers, per category and kind of question.

An answer is right if each of its tokens and its end are the likeliest ones, given those before: then
greedy generation gives exactly this answer. Scores with blank pictures are those of guesses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from transprune.nano.evaluate import BLANK, Tally
from transprune.smol.asker import Question
from transprune.smol.kinds import Split
from transprune.smol.packing import answer_logits, pack, right_answers
from transprune.smol.questions import CATEGORIES, ask_all, asker_of
from transprune.smol.scenes import draw
from transprune.smol.world import World

PER_CATEGORY = 2  # questions of each category about a scene


@dataclass(frozen=True)
class Scores:
    """The result of `evaluate`.

    Attributes:
        split, scenes, unseen, held_out, blank: what was asked, see `evaluate`.
        categories: per category of questions.
        kinds: per `category/kind`.
    """

    split: str
    scenes: int
    unseen: bool
    held_out: bool
    blank: bool
    categories: dict[str, Tally]
    kinds: dict[str, Tally]

    @property
    def mean(self) -> float:
        """Mean of the categories' accuracies, percent."""
        return sum(tally.percent for tally in self.categories.values()) / len(self.categories)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "split": self.split,
            "scenes": self.scenes,
            "unseen": self.unseen,
            "held_out": self.held_out,
            "blank": self.blank,
            "mean": round(self.mean, 2),
            "categories": {name: tally.to_dict() for name, tally in self.categories.items()},
            "kinds": {name: tally.to_dict() for name, tally in sorted(self.kinds.items())},
        }


@torch.no_grad()
def evaluate(
    model: Any,
    tokenizer: Any,
    world: World,
    split: Split = "validation",
    scenes: int = 200,
    *,
    unseen: bool = False,
    held_out: bool = False,
    blank: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Ask a model about the first scenes of a split, two questions of every category.

    Args:
        model: of `architecture.assemble`, in any number type.
        tokenizer: its tokenizer.
        world: what pictures are drawn from.
        split: `"validation"` to choose by, `"test"` to report.
        scenes: how many.
        unseen: show kinds that no training picture has.
        held_out: word the questions as no training question is.
        blank: put one grey picture in place of every scene.
        progress: called with the number of finished scenes and of all scenes.
    """
    verdicts: dict[str, list[bool]] = defaultdict(list)
    half = model.dtype != torch.float32

    for number in range(scenes):
        scene = draw(world, split, number, unseen=unseen)
        asker = asker_of(world, scene, split, number, unseen=unseen, held_out=held_out)
        questions = ask_all(asker, PER_CATEGORY)

        pixels = torch.from_numpy(scene.pixels)[None]
        packed = pack(torch.full_like(pixels, BLANK) if blank else pixels, [questions], tokenizer)
        with torch.autocast(model.device.type, model.dtype, enabled=half):
            logits = answer_logits(model, tokenizer, packed)
        (right,) = right_answers(logits, packed)
        _record(verdicts, questions, [right[place] for place in range(len(questions))])
        progress(number + 1, scenes)

    tallies = {name: Tally(sum(found), len(found)) for name, found in verdicts.items()}
    categories = {name: tallies[name] for name in CATEGORIES if name in tallies}
    kinds = {name: tally for name, tally in tallies.items() if "/" in name}
    return Scores(split, scenes, unseen, held_out, blank, categories, kinds)


def _record(verdicts: dict[str, list[bool]], questions: list[Question], right: list[bool]) -> None:
    """Add the verdicts about one scene, under the category and, if it has kinds, under the kind."""
    for question, verdict in zip(questions, right, strict=True):
        verdicts[question.category].append(verdict)
        if question.kind:
            verdicts[f"{question.category}/{question.kind}"].append(verdict)
