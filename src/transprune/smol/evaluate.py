"""How well an assembled model answers, per category and kind of question.

An answer is right if each of its tokens and its end are the likeliest ones, given those before: then
greedy generation gives exactly this answer. Scores with blank pictures are those of guesses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
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
        split, unseen, held_out, blank: what was asked, see `evaluate`.
        by_scene: of each scene, per category of questions and per `category/kind`.
    """

    split: str
    unseen: bool
    held_out: bool
    blank: bool
    by_scene: tuple[dict[str, Tally], ...]

    @property
    def scenes(self) -> int:
        """The number of scenes."""
        return len(self.by_scene)

    @cached_property
    def _tallies(self) -> dict[str, Tally]:
        """Over all scenes."""
        total: dict[str, Tally] = {}
        for scene in self.by_scene:
            for name, tally in scene.items():
                before = total.get(name, Tally(0, 0))
                total[name] = Tally(before.right + tally.right, before.asked + tally.asked)
        return total

    @property
    def categories(self) -> dict[str, Tally]:
        """Per category of questions."""
        return {name: self._tallies[name] for name in CATEGORIES if name in self._tallies}

    @property
    def kinds(self) -> dict[str, Tally]:
        """Per `category/kind`."""
        return {name: tally for name, tally in self._tallies.items() if "/" in name}

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
    by_scene = []
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
        by_scene.append(_count(questions, [right[place] for place in range(len(questions))]))
        progress(number + 1, scenes)

    return Scores(split, unseen, held_out, blank, tuple(by_scene))


def _count(questions: list[Question], right: list[bool]) -> dict[str, Tally]:
    """The answers about one scene, by category and, if it has kinds, by kind."""
    verdicts: dict[str, list[bool]] = defaultdict(list)
    for question, verdict in zip(questions, right, strict=True):
        verdicts[question.category].append(verdict)
        if question.kind:
            verdicts[f"{question.category}/{question.kind}"].append(verdict)

    return {name: Tally(sum(found), len(found)) for name, found in verdicts.items()}
