"""A home of the second test bed with a little world and a little model."""

from __future__ import annotations

import pytest

from smol.little import little_world, write_little_model
from transprune.bench.data.tasks.beds import smol as bed
from transprune.smol import HOME_VARIABLE


@pytest.fixture(scope="module")
def little_home(tmp_path_factory):
    """Its folder; the name `smol` stands for the model in it."""
    folder = tmp_path_factory.mktemp("home")
    write_little_model(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(folder))
        patch.setattr(bed, "_world", lambda place: little_world())
        bed._picture.cache_clear()
        yield folder
    bed._picture.cache_clear()


@pytest.fixture
def little_scenes(monkeypatch):
    """The little world alone, where no model is needed."""
    monkeypatch.setattr(bed, "_world", lambda place: little_world())
    bed._picture.cache_clear()
    yield
    bed._picture.cache_clear()
