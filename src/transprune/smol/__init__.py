"""The second test bed: a LLaVA whose language model, SmolLM2-135M-Instruct, learnt language first.

Nothing of it is bundled. `transprune smol` puts it together, of a language model in a file that is
on the machine and an adapter that was trained for it; `transprune smol world` gathers what pictures
are drawn from, and `transprune smol train` trains an adapter. All of it lies in one folder, its
home, which is `out/smol` unless TRANSPRUNE_SMOL names another:

    language/   the language model, as transformers loads it, and what it answers to text alone
    world/      pictures of 1,376 kinds of things with their names, and photographs
    tower/, reader/   the trainings: checkpoints and logs
    adapter/    what was trained
    model/      the finished model, an ordinary checkpoint

The training code is in `smol/train`, which is part of the source repository and not of the wheel.
"""

from __future__ import annotations

import os
from pathlib import Path

SMOL = "smol"  # the name of the model and of its questions, wherever a source is given
HOME = Path("out/smol")
HOME_VARIABLE = "TRANSPRUNE_SMOL"

LANGUAGE_FOLDER = "language"
WORLD_FOLDER = "world"
ADAPTER_FOLDER = "adapter"
MODEL_FOLDER = "model"

CAVEATS = "CAVEATS"  # a file in a model that is not the one that figures are of; a line each


def home() -> Path:
    """Folder of everything that belongs to it: `out/smol`, or where TRANSPRUNE_SMOL points."""
    return Path(os.environ.get(HOME_VARIABLE) or HOME)


def path() -> Path:
    """Folder of the finished model."""
    return home() / MODEL_FOLDER
