"""Noisy backgrounds for scenes: a tint under a mixture of clouds, grain and stripes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_CLOUDS = 64
_GRAINS = 64
_STRIPES = 32

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Textures:
    """Textures that backgrounds are mixed from, float32 [n, side, side]."""

    clouds: Pixels
    grain: Pixels
    stripes: Pixels


@cache
def make_textures(seed: tuple[int, ...], side: int) -> Textures:
    """Make the textures of a seed, once per process: fresh noise for each scene would be slow."""
    rng = np.random.default_rng(seed)

    # The order of the draws defines every background, and with it every scene.
    coarse = rng.normal(0, 1, (_CLOUDS, 8, 8)).astype(np.float32)
    clouds = [_enlarge(noise, side) for noise in coarse]

    angles = rng.uniform(0, np.pi, _STRIPES)
    pitches = rng.uniform(0.2, 1.2, _STRIPES)  # radians per pixel
    y, x = np.mgrid[:side, :side]
    stripes = []
    for angle, pitch in zip(angles, pitches, strict=True):
        stripes.append(np.sin((x * np.cos(angle) + y * np.sin(angle)) * pitch))

    grain = rng.normal(0, 1, (_GRAINS, side, side)).astype(np.float32)
    return Textures(np.stack(clouds), grain, np.stack(stripes).astype(np.float32))


def _enlarge(noise: Pixels, side: int) -> Pixels:
    """Smooth small noise to the size of a picture. [8, 8] -> [side, side]."""
    return np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))


def background(rng: np.random.Generator, textures: Textures) -> Pixels:
    """Mix a background. -> float32 [side, side, 3], grey levels of about 0..255, not clipped."""
    tint = (rng.uniform(70, 180) + rng.uniform(-18, 18, 3)).astype(np.float32)

    # random flips make four textures of each grain
    grain = textures.grain[rng.integers(_GRAINS)]
    grain = grain[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]

    texture = textures.clouds[rng.integers(_CLOUDS)] * np.float32(rng.uniform(8, 22))
    texture = texture + grain * np.float32(rng.uniform(4, 14))
    texture = texture + textures.stripes[rng.integers(_STRIPES)] * np.float32(rng.uniform(0, 14))

    return tint + texture[..., None]  # [3] + [side, side, 1] -> [side, side, 3]
