"""Drawn rows in the layout of the benchmarks, and one small run of a table on them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

# without the extra `reproduce` only what the paper prints can be tested
collect_ignore = (
    []
    if find_spec("pyarrow")
    else [
        *("test_benchmarks.py", "test_run.py", "test_ranks.py", "test_videos.py"),
    ]
)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """All drawn data sets."""
    from transprune.reproduce.smoke.write import draw_data

    return draw_data(tmp_path_factory.mktemp("data") / "sets")


@pytest.fixture(scope="session")
def finished(data, tmp_path_factory):
    """A small run of Table 1: its plan, its outcome, and the notes it gave."""
    from reproduce.small import small_plan
    from transprune.cli.guard import quiet_libraries
    from transprune.reproduce.launch import launch

    plan = small_plan(tmp_path_factory.mktemp("reproduce") / "out", data)
    notes: list[str] = []
    with quiet_libraries(bars=False):
        outcome = launch(plan, on_note=notes.append)
    return plan, outcome, notes
