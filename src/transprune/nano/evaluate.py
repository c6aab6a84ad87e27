"""How well a checkpoint of the bundled kind answers: exact answers per question family, and per kind within it.

Two questions of every short family and one multiple choice of every kind are asked about each scene, packed behind one
picture (see `train.packed`), which gives the answers a prompt with the single question would. The floor is the same
with the picture blanked: what can be answered by guessing well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transprune.errors import CheckpointError
from transprune.nano.questions import FAMILIES, TRIES, Question, ask, ask_surely
from transprune.nano.scenes import Scene, Split, draw, question_rng
from transprune.nano.train.asking import LanguageBatch, answer_tokens, right_answers
from transprune.nano.train.curriculum import CHOICE_TOKENS, SHORT_TOKENS, pack
from transprune.nano.train.packed import layer_forward

PER_FAMILY = 2
CHOICES = ("color", "shape", "read")
BATCH = 32  # scenes at a time


@dataclass(frozen=True)
class Tally:
    """Right answers out of so many questions."""

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
    """What `evaluate` found.

    Attributes:
        split, scenes: which scenes, numbers 0 to `scenes` - 1.
        blank: the pictures were blanked.
        families: per question family.
        kinds: per `family/kind`.
    """

    split: str
    scenes: int
    blank: bool
    families: dict[str, Tally]
    kinds: dict[str, Tally]

    @property
    def mean(self) -> float:
        """Mean of the families' accuracies, percent."""
        return sum(tally.percent for tally in self.families.values()) / len(self.families)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "split": self.split,
            "scenes": self.scenes,
            "blank": self.blank,
            "mean": round(self.mean, 2),
            "families": {name: tally.to_dict() for name, tally in self.families.items()},
            "kinds": {name: tally.to_dict() for name, tally in sorted(self.kinds.items())},
        }


def load_trained(folder: Path) -> Any:
    """A checkpoint of the bundled kind, in fp32, ready to be evaluated.

    Raises:
        CheckpointError: no checkpoint there, or one of another architecture.
    """
    from transformers import AutoConfig, LlavaForConditionalGeneration

    from transprune.nano.words import WORDS

    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"no checkpoint at {folder}: {error}") from error
    vocabulary = getattr(getattr(config, "text_config", None), "vocab_size", None)
    if config.model_type != "llava" or vocabulary != len(WORDS):
        raise CheckpointError(
            f"{folder / 'config.json'}: a LLaVA with the bundled vocabulary of {len(WORDS)} words is evaluated here; "
            f"got {config.model_type} with {vocabulary}. Other models are measured by `transprune bench`."
        )
    return LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def evaluate(
    model: Any,
    split: Split = "validation",
    scenes: int = 500,
    *,
    blank: bool = False,
    hidden: Container[int] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Ask a model about the first scenes of a split.

    Args:
        model: a LLaVA of the bundled kind.
        split: `"validation"` to choose by, `"test"` to report.
        scenes: how many.
        blank: put one grey picture in place of every scene.
        hidden: decoder layers in which the questions cannot look at the picture.
        progress: told how many scenes are done.
    """
    right: dict[str, list[bool]] = defaultdict(list)
    for start in range(0, scenes, BATCH):
        numbers = range(start, min(start + BATCH, scenes))
        drawn = [draw(split, number) for number in numbers]
        asked = [
            _questions(scene, question_rng(split, number))
            for scene, number in zip(drawn, numbers, strict=True)
        ]
        batch = _batch(drawn, asked, blank)
        verdicts = right_answers(answer_tokens(model, batch, hidden, layer_forward), batch).view(
            len(numbers), -1
        )
        for questions, row in zip(asked, verdicts.tolist(), strict=True):
            for question, verdict in zip(questions, row, strict=True):
                if question is not None:
                    right[question.family].append(verdict)
                    right[f"{question.family}/{question.kind}"].append(verdict)
        progress(numbers.stop, scenes)
    tallies = {name: Tally(sum(verdicts), len(verdicts)) for name, verdicts in right.items()}
    families = {name: tallies[name] for name in FAMILIES if name in tallies}
    kinds = {
        name: tally for name, tally in tallies.items() if "/" in name and not name.endswith("/")
    }
    return Scores(split, scenes, blank, families, kinds)


def _questions(scene: Scene, rng: np.random.Generator) -> list[Question | None]:
    """In a fixed order; None where the scene has no such question."""
    short = [ask_surely(scene, family, rng) for family in FAMILIES[:-1] for _ in range(PER_FAMILY)]
    return [*short, *_choices(scene, rng)]


def _choices(scene: Scene, rng: np.random.Generator) -> Iterator[Question | None]:
    for kind in CHOICES:
        drawn = (ask(scene, "mc", rng) for _ in range(3 * TRIES))
        yield next(
            (question for question in drawn if question is not None and question.kind == kind), None
        )


def _batch(scenes: list[Scene], asked: list[list[Question | None]], blank: bool) -> LanguageBatch:
    pixels = np.stack([scene.pixels for scene in scenes])
    if blank:
        pixels = np.full_like(pixels, 125)
    cut = len(asked[0]) - len(CHOICES)
    short = [
        pack([question or _NOTHING for question in questions[:cut]], SHORT_TOKENS)
        for questions in asked
    ]
    choice = [
        pack([question or _NOTHING for question in questions[cut:]], CHOICE_TOKENS)
        for questions in asked
    ]
    ids, targets = zip(
        *([torch.stack(part) for part in zip(*kind, strict=True)] for kind in (short, choice)),
        strict=True,
    )
    return LanguageBatch(torch.from_numpy(pixels), ids, targets, torch.empty(0))


_NOTHING = Question(
    "", "", "is there ?", "no", ()
)  # stands where a scene has no question, and is not counted
