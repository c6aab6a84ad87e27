"""The same job on Ray: the same files, and workers that are killed."""

from __future__ import annotations

import pytest

from batch.test_job import run, start, wait_for_parts  # noqa: F401
from transprune.batch import need_ray
from transprune.errors import MissingExtra

pytestmark = pytest.mark.timeout(600)


def test_without_ray_the_cure_is_named(monkeypatch):
    monkeypatch.setattr("transprune.batch.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"transprune\[ray\]"):
        need_ray()
