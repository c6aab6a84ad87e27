"""The training recipes: their stages, in order, with all settings.

- `eyes-first` made the bundled model. It trains the language model on pictures from the start.
- `words-first` follows large models. The language model first learns the same tasks on scenes
  given as text. Then it stays frozen while the projector learns to map pictures to it, and at the
  end all is tuned together.
- `miniature` tests the loop in seconds and learns next to nothing.

The bundled model was trained before its stages had their present names; its card calls the six
language stages of `eyes-first`, in this order: young, grown, seasoned, related, compared, counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from transprune.nano.architecture import Sizes
from transprune.nano.train.curriculum import ODDS, Mix
from transprune.nano.train.language import FIRST_SCENE, LanguageSettings
from transprune.nano.train.vision import VisionSettings


@dataclass(frozen=True)
class TrainingRecipe:
    """A whole training.

    Attributes:
        name: of the recipe.
        sizes: of the finished model.
        vision: the stage of the vision tower.
        language: the stages after it. Each continues with the model of the one before; if it has
            more layers, new ones are added at the bottom.
        report_scenes: test scenes for the scores of the finished model.
    """

    name: str
    sizes: Sizes = field(default_factory=Sizes)
    vision: VisionSettings = field(default_factory=VisionSettings)
    language: tuple[LanguageSettings, ...] = ()
    report_scenes: int = 2000

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready settings of the training; a run resumes only with the same ones."""
        settings = asdict(self)
        # the scores come after the training, so they may use another number of scenes
        del settings["report_scenes"]
        return settings


# What a new model can learn: existence and reading.
_EARLY_ODDS = {
    **ODDS,
    "exist": 0.22,
    "read": 0.2,
    "relation": 0.08,
    "place": 0.1,
}

# Colours and shapes are known by then. Places, relations and multiple choice come last; they are
# learnt only at low learning rates.
_LATE_ODDS = {
    **ODDS,
    "exist": 0.08,
    "color": 0.09,
    "shape": 0.08,
    "size": 0.04,
    "read": 0.1,
    "position": 0.11,
    "place": 0.14,
}
_RELATION_ODDS = {**_LATE_ODDS, "relation": 0.3}
_COUNT_ODDS = {**ODDS, "count": 0.7}
_DESCRIBE_ODDS = {**ODDS, "describe": 0.6}  # for scenes given as text

_LATE_MIX = Mix(12, 8, _LATE_ODDS)
_RELATION_MIX = Mix(12, 8, _RELATION_ODDS, located=4)

# the stages of `eyes-first` that mask the image in the lowest 4 layers, then lift the mask
_masked_then_visible = partial(
    LanguageSettings,
    warmup=20,
    mask_image_layers=4,
    mask_image_until=0.5,
    image_visible_from=0.75,
)

# the last stage of both recipes: counting, which is learnt last
_counts_stage = partial(
    LanguageSettings,
    muon_lr=0.004,
    adam_lr=6e-4,
    warmup=10,
    mix=Mix(12, 8, _COUNT_ODDS, located=2),
)

EYES_FIRST = TrainingRecipe(
    "eyes-first",
    language=(
        LanguageSettings(
            "stage1_basics",
            steps=280,
            layers=12,
            muon_lr=0.02,
            adam_lr=3e-3,
            lr_floor=0.3,
            reveal_answer=0.5,
            scaffold_until=1.0,
            full_scenes_from=0.6,
            mix=Mix(odds=_EARLY_ODDS),
        ),
        # from here on 16 layers: 4 new ones at the bottom
        LanguageSettings(
            "stage2_masked_layers",
            steps=1300,
            schedule_steps=2800,
            mask_image_layers=4,
            reveal_answer=0.5,
            first_scene=FIRST_SCENE + 1_000_000,
        ),
        _masked_then_visible(
            "stage3_places",
            steps=830,
            schedule_steps=1500,
            muon_lr=0.008,
            adam_lr=1.2e-3,
            reveal_answer=0.7,
            scaffold_until=0.7,
            first_scene=FIRST_SCENE + 2_000_000,
            mix=_LATE_MIX,
        ),
        _masked_then_visible(
            "stage4_relations",
            steps=270,
            schedule_steps=1000,
            muon_lr=0.006,
            adam_lr=1e-3,
            reveal_answer=0.3,
            scaffold_until=0.6,
            first_scene=FIRST_SCENE + 3_000_000,
            mix=_RELATION_MIX,
        ),
        # as before, but at first without *right of* and *below*: that made relations learnable
        _masked_then_visible(
            "stage5_one_direction",
            steps=800,
            muon_lr=0.006,
            adam_lr=1e-3,
            reveal_answer=0.2,
            drop_inverse=0.95,
            scaffold_until=0.55,
            first_scene=FIRST_SCENE + 4_000_000,
            mix=_RELATION_MIX,
        ),
        _counts_stage("stage6_counts", steps=260, first_scene=FIRST_SCENE + 5_000_000),
    ),
)

WORDS_FIRST = TrainingRecipe(
    "words-first",
    language=(
        LanguageSettings(
            "stage1_words",
            steps=900,
            layers=4,
            source="words",
            lr_floor=0.2,
            reveal_answer=0.7,
            drop_inverse=0.95,
            object_sum=1.0,
            scaffold_until=0.8,
            full_scenes_from=0.6,
            first_scene=2 * FIRST_SCENE,
            mix=Mix(14, 6, _DESCRIBE_ODDS, located=3),
        ),
        # words again, at less than half the peak rates
        LanguageSettings(
            "stage2_words_low_rate",
            steps=400,
            layers=4,
            muon_lr=0.008,
            adam_lr=1.2e-3,
            source="words",
            reveal_answer=0.7,
            scaffold_until=0.9,
            first_scene=2 * FIRST_SCENE + 500_000,
            mix=Mix(12, 8, _DESCRIBE_ODDS, located=3),
        ),
        # 12 layers more, and pictures from here on
        LanguageSettings(
            "stage3_projector",
            steps=120,
            adam_lr=3e-3,
            trained="projector",
            first_scene=2 * FIRST_SCENE + 1_000_000,
        ),
        LanguageSettings(
            "stage4_pictures",
            steps=1000,
            muon_lr=0.008,
            adam_lr=1.2e-3,
            reveal_answer=0.7,
            drop_inverse=0.95,
            scaffold_until=0.6,
            first_scene=2 * FIRST_SCENE + 2_000_000,
            mix=Mix(12, 8, _LATE_ODDS, located=4),
        ),
        _counts_stage("stage5_counts", steps=200, first_scene=2 * FIRST_SCENE + 3_000_000),
    ),
)

MINIATURE = TrainingRecipe(
    "miniature",
    sizes=Sizes(width=32, mlp=64, vision_layers=2, text_layers=1, layers=3),
    vision=VisionSettings(steps=6, batch=4, warmup=2),
    language=(
        LanguageSettings("stage1_basics", steps=4, batch=2, layers=2, warmup=2, mix=Mix(4, 2)),
        LanguageSettings(
            "stage2_masked_layers",
            steps=6,
            batch=2,
            layers=3,
            warmup=2,
            mask_image_layers=1,
            reveal_answer=0.5,
            mix=Mix(4, 2),
        ),
    ),
    report_scenes=20,
)

RECIPES: Mapping[str, TrainingRecipe] = {
    recipe.name: recipe for recipe in (EYES_FIRST, WORDS_FIRST, MINIATURE)
}
