"""docs/support.md is what the contract tests recorded: its rows are the families of today, its columns the methods."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import page, record

PAGE = Path(__file__).parents[2] / "docs" / "support.md"


def tables() -> list[list[list[str]]]:
    """The tables of the page, cell by cell, without the line under the head."""
    found: list[list[list[str]]] = []
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        is_row = line.startswith("|")
        if is_row and not inside:
            found.append([])
        if is_row and not line.startswith("|---"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        inside = is_row
    return found


def test_rows_are_the_families_and_columns_the_methods_and_modes():
    """Where this fails, something new was added: run `make support`, with ARGS="-k NAME" for it alone."""
    by_method, by_mode = tables()
    assert by_method[0] == ["model type", *page.methods()]
    assert by_mode[0] == ["model type", *page.modes()]
    rows = [page.label(name) for name in page.families()]
    assert [row[0] for row in by_method[1:]] == [row[0] for row in by_mode[1:]] == rows


def test_every_cell_is_tested_refused_or_untested_and_every_number_has_a_reason():
    text = PAGE.read_text(encoding="utf-8")
    reasons = set(re.findall(r"^(\d+)\. ", text, re.MULTILINE))
    quoted = set()
    for table in tables():
        for row in table[1:]:
            for cell in row[1:]:
                assert re.fullmatch(r"✓( eager| sdpa)?|·|✗|\d+(, \d+)*", cell), (row[0], cell)
                quoted |= set(re.findall(r"\d+", cell))
    assert quoted == reasons


def noted(outcome: str, **changes: str) -> dict[str, str]:
    cell = {"family": "llava", "kind": "method", "item": "fastv", "attention": "sdpa"}
    return {**cell, "refused": "", "why": "", "outcome": outcome, **changes}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([], page.UNTESTED),
        ([noted("passed"), noted("passed", attention="eager")], page.TESTED),
        ([noted("passed")], "✓ sdpa"),
        ([noted("passed", kind="mode")], page.UNTESTED),
        ([noted("passed"), noted("failed", attention="eager")], page.FAILS),
        ([noted("passed", refused="no tower")], "1"),
        ([noted("skipped", why="Skipped: no such class")], "1"),
        ([noted("passed", family="llava_next")], page.UNTESTED),
    ],
)
def test_a_cell_says_what_was_recorded(cells, expected):
    assert page.Page(cells).cell("llava", "method", "fastv") == expected


def test_a_later_run_replaces_what_it_ran_and_keeps_the_rest(tmp_path):
    path = tmp_path / "out" / "cells"
    for cells in ([noted("failed"), noted("passed", item="pdrop")], [noted("passed")]):
        recorder = record.Recorder(path)
        recorder.cells = cells
        recorder.pytest_sessionfinish()
    assert {cell["item"]: cell["outcome"] for cell in record.read(path)} == {
        "fastv": "passed",
        "pdrop": "passed",
    }


def test_reasons_are_numbered_in_the_order_of_the_page():
    cells = [
        noted("passed", item="a", refused="second"),
        noted("passed", item="b", refused="first"),
        noted("passed", item="c", refused="second"),
    ]
    made = page.Page(cells)
    assert made.table("method", ["llava"], ["b", "a", "c"]).endswith(
        "| `llava` LLaVA-1.5 | 1 | 2 | 2 |"
    )
    assert "1. first\n2. second\n" in made.listed_reasons()
