"""Backgrounds: small cuts of photographs, too small for what they show to be named, and noisy textures."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.errors import MissingExtra
from transprune.nano.backgrounds import Pixels, background, make_textures
from transprune.smol.kinds import SPLITS, Split

# photographs that scikit-image ships, all public domain or CC0; each split has its own
PHOTOGRAPHS: dict[Split, tuple[str, ...]] = {
    "train": (
        "brick.png",
        "grass.png",
        "hubble_deep_field.jpg",
        "retina.jpg",
        "coffee.png",
        "motorcycle_left.png",
        "moon.png",
        "cell.png",
    ),
    "validation": ("rocket.jpg", "camera.png"),
    "test": ("gravel.png", "chelsea.png", "coins.png", "ihc.png"),
}

STORED = 512  # pixels of the longer side of a stored photograph
_PHOTOGRAPHED = 0.6  # share of the pictures
_CUT = (0.12, 0.3)  # side of a cut, of the photograph's shorter side
_SEED = 135  # of the textures


def read_photographs(split: Split) -> list[NDArray[np.uint8]]:
    """The photographs of a split, uint8 [H, W, 3], at most 512 pixels long.

    Raises:
        MissingExtra: scikit-image is not installed, or lacks one of them.
    """
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise MissingExtra("photographs are those of scikit-image: pip install 'transprune[smol]'")

    folder = Path(found.submodule_search_locations[0]) / "data"
    pictures = []
    for name in PHOTOGRAPHS[split]:
        if not (folder / name).is_file():
            raise MissingExtra(
                f"scikit-image without {name}: install the release in constraints.txt"
            )
        image = Image.open(folder / name).convert("RGB")
        image.thumbnail((STORED, STORED), Image.Resampling.LANCZOS)
        pictures.append(np.asarray(image))
    return pictures


def draw_background(
    rng: np.random.Generator, photographs: list[NDArray[np.uint8]], split: Split, side: int
) -> Pixels:
    """A background of a split. -> float32 [side, side, 3], about 0..255."""
    if not photographs or rng.random() >= _PHOTOGRAPHED:
        return background(rng, make_textures((_SEED, SPLITS.index(split)), side))

    photograph = photographs[rng.integers(len(photographs))]
    height, width = photograph.shape[:2]
    cut = int(min(height, width) * rng.uniform(*_CUT))
    top = int(rng.integers(height - cut + 1))
    left = int(rng.integers(width - cut + 1))

    image = Image.fromarray(photograph[top : top + cut, left : left + cut])
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    pixels = pixels[:, :: rng.choice((-1, 1))]

    # another light: contrast, brightness and tint
    light = rng.uniform(-30, 30) + rng.uniform(-20, 20, 3)
    mean = pixels.mean()
    return mean + (pixels - mean) * np.float32(rng.uniform(0.6, 1.1)) + light.astype(np.float32)
