"""The trainings that exist: which stages, in which order, with which settings.

`eyes-first` trains the language model on pictures from the start; its later stages each answer to something that stood
still before (see `curriculum`), and made the bundled model. `words-first` is how large models come about: the
language model first learns the same tasks on scenes told in words, then stays frozen while the projector learns to
speak its language, then all is tuned together. `miniature` proves the loop in seconds and learns next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from transprune.nano.architecture import Sizes
from transprune.nano.train.curriculum import ODDS, Mix
from transprune.nano.train.language import FIRST, LanguageSettings
from transprune.nano.train.vision import VisionSettings

_EARLY = {
    **ODDS,
    "exist": 0.22,
    "read": 0.2,
    "relation": 0.08,
    "place": 0.1,
}  # what a young model can learn

# colours and shapes are known by then; places, relations and multiple choice come last, and only at low rates
_LATE = {
    **ODDS,
    "exist": 0.08,
    "color": 0.09,
    "shape": 0.08,
    "size": 0.04,
    "read": 0.1,
    "position": 0.11,
    "place": 0.14,
}
_LAST = {**_LATE, "relation": 0.3}
_COUNTS = {**ODDS, "count": 0.7}
_RETOLD = {**ODDS, "retell": 0.6}  # the scene lies there in words

_LATER = partial(LanguageSettings, warmup=20, blind=4, blind_until=0.5, sighted_from=0.75)
_COUNTING = partial(
    LanguageSettings, muon=0.004, adam=6e-4, warmup=10, mix=Mix(12, 8, _COUNTS, told=2)
)  # ends both


@dataclass(frozen=True)
class TrainingRecipe:
    """A whole training.

    Attributes:
        name: of the recipe.
        sizes: of the finished model.
        vision: the tower's stage.
        language: the stages after it; each takes up the model of the one before, growing where it has more layers.
        report_scenes: test scenes the finished model is measured on.
    """

    name: str
    sizes: Sizes = field(default_factory=Sizes)
    vision: VisionSettings = field(default_factory=VisionSettings)
    language: tuple[LanguageSettings, ...] = ()
    report_scenes: int = 2000

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready settings of the training; a run resumes only with the same ones."""
        return {name: value for name, value in asdict(self).items() if name != "report_scenes"}


EYES_FIRST = TrainingRecipe(
    "eyes-first",
    language=(
        LanguageSettings(
            "young",
            steps=280,
            layers=12,
            muon=0.02,
            adam=3e-3,
            floor=0.3,
            leak=0.5,
            help_until=1.0,
            objects_until=0.6,
            mix=Mix(odds=_EARLY),
        ),
        LanguageSettings(
            "grown", steps=1300, horizon=2800, blind=4, leak=0.5, first=FIRST + 1_000_000
        ),
        _LATER(
            "seasoned",
            steps=830,
            horizon=1500,
            muon=0.008,
            adam=1.2e-3,
            leak=0.7,
            help_until=0.7,
            first=FIRST + 2_000_000,
            mix=Mix(12, 8, _LATE),
        ),
        _LATER(
            "related",
            steps=270,
            horizon=1000,
            muon=0.006,
            adam=1e-3,
            leak=0.3,
            help_until=0.6,
            first=FIRST + 3_000_000,
            mix=Mix(12, 8, _LAST, told=4),
        ),
        _LATER(
            "compared",
            steps=800,
            muon=0.006,
            adam=1e-3,
            leak=0.2,
            slant=0.95,
            help_until=0.55,
            first=FIRST + 4_000_000,
            mix=Mix(12, 8, _LAST, told=4),
        ),
        _COUNTING("counted", steps=260, first=FIRST + 5_000_000),
    ),
)

WORDS_FIRST = TrainingRecipe(
    "words-first",
    language=(
        LanguageSettings(
            "words",
            steps=900,
            layers=4,
            source="words",
            floor=0.2,
            leak=0.7,
            slant=0.95,
            gather=1.0,
            help_until=0.8,
            objects_until=0.6,
            first=2 * FIRST,
            mix=Mix(14, 6, _RETOLD, told=3),
        ),
        LanguageSettings(
            "fluent",
            steps=400,
            layers=4,
            muon=0.008,
            adam=1.2e-3,
            source="words",
            leak=0.7,
            help_until=0.9,
            first=2 * FIRST + 500_000,
            mix=Mix(12, 8, _RETOLD, told=3),
        ),
        LanguageSettings(
            "aligned", steps=120, adam=3e-3, trained="projector", first=2 * FIRST + 1_000_000
        ),
        LanguageSettings(
            "tuned",
            steps=1000,
            muon=0.008,
            adam=1.2e-3,
            leak=0.7,
            slant=0.95,
            help_until=0.6,
            first=2 * FIRST + 2_000_000,
            mix=Mix(12, 8, _LATE, told=4),
        ),
        _COUNTING("finished", steps=200, first=2 * FIRST + 3_000_000),
    ),
)

MINIATURE = TrainingRecipe(
    "miniature",
    sizes=Sizes(width=32, mlp=64, vision_layers=2, text_layers=1, layers=3),
    vision=VisionSettings(steps=6, batch=4, warmup=2),
    language=(
        LanguageSettings("young", steps=4, batch=2, layers=2, warmup=2, mix=Mix(4, 2)),
        LanguageSettings(
            "grown", steps=6, batch=2, layers=3, warmup=2, blind=1, leak=0.5, mix=Mix(4, 2)
        ),
    ),
    report_scenes=20,
)

RECIPES: Mapping[str, TrainingRecipe] = {
    recipe.name: recipe for recipe in (EYES_FIRST, WORDS_FIRST, MINIATURE)
}
