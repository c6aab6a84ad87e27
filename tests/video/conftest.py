"""Checkpoints and files that the tests of videos share."""

from __future__ import annotations

from functools import cache

import pytest

from video.folders import save_checkpoint, write_film


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A checkpoint folder per model type, made once."""
    root = tmp_path_factory.mktemp("video-models")
    return cache(lambda name: save_checkpoint(name, root / name))


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A file of 20 frames."""
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4")
