"""The evidence of `transprune suggest`: every figure is one that was printed or measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from transprune.cli.suggest_evidence import (
    BUNDLED_ONLY,
    KINDS,
    MEASURED_HERE,
    NEAR,
    NOTHING,
    PUBLISHED_ELSEWHERE,
    PUBLISHED_HERE,
    find_evidence,
    published_model,
)
from transprune.cli.suggest_measured import measured_table
from transprune.cli.suggest_published import COMPUTED, LLAVA, NEXT, PUBLISHED
from transprune.cli.suggest_settings import candidates
from transprune.cost.geometry import GEOMETRIES, Geometry, known_geometry
from transprune.cost.paper_rows import TABLES

DOCS = Path(__file__).parents[2] / "docs"
BUDGETS = (60, 41, 31, 20, 12)  # columns of the page


def test_measured_figures_are_those_of_the_page():
    page = (DOCS / "accuracy.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w:=-]+) \|((?: [^|]*\|){5})$", page, re.M))
    assert len(measured_table()) >= 20

    for method, figures in measured_table().items():
        for budget, cell in zip(BUDGETS, rows[method].split("|"), strict=False):
            # a dagger: the method could not reach the budget, so this is no figure for it
            number = re.match(r"\s*(\d+\.\d)[^†\d]*$", cell)
            expected = float(number.group(1)) if number else None
            assert figures.get(budget) == expected, (method, budget)


def test_published_costs_are_those_of_the_paper_s_tables():
    """Each share is the printed figure over the printed unpruned one, wherever that is printed."""
    printed = set()
    for table in TABLES:
        full = next((float(row.printed) for row in table.figures if row.method == "unpruned"), 3.82)
        for figure in table.figures:
            share = (
                float(figure.printed) if table.unit == "%" else 100 * float(figure.printed) / full
            )
            printed.add((known_geometry(table.model).name, round(share, 1)))

    for row in PUBLISHED:
        near = [share for model, share in printed if model == row.model]
        assert min(abs(share - row.share) for share in near) <= 0.15, row
        assert 90 < row.accuracy <= 100


def test_the_means_that_are_computed_here():
    """Relative to unpruned: MME-P, SQA-I, POPE and MMB-en of Table 3."""
    unpruned = (1634, 79.6, 86.2, 79.8)
    scores = {"FastV": (1563, 78.3, 85.1, 77.6), "TransPrune": (1580, 78.1, 87.5, 78.1)}
    rows = {row.row: row for row in PUBLISHED if row.table == COMPUTED}
    assert set(rows) == set(scores)
    for name, printed in scores.items():
        shares = [score / full for score, full in zip(printed, unpruned, strict=True)]
        assert rows[name].accuracy == round(100 * sum(shares) / 4, 1)


def test_every_figure_belongs_to_a_candidate():
    known = set(candidates(bundled=True))
    assert {row.method for row in PUBLISHED} <= known
    assert set(measured_table()) <= known
    assert not {"random", "uniform", "norm", "pool", "downsample", "compose"} & known
    assert "transprune-nano" not in candidates(bundled=False)


@pytest.mark.parametrize(
    ("method", "model", "paper_share", "kind"),
    [
        ("fastv", LLAVA, 0.52, PUBLISHED_HERE),
        ("fastv", None, 0.52, PUBLISHED_ELSEWHERE),
        ("sparsevlm", NEXT, 0.41, PUBLISHED_ELSEWHERE),
        ("divprune", LLAVA, 0.41, BUNDLED_ONLY),
        ("plphp", LLAVA, 0.41, NOTHING),
        # published at 29 % and more, which is no evidence for 20 %
        ("fastv", LLAVA, 0.20, BUNDLED_ONLY),
        # published at 11.5 %, which is none for a fifth of that
        ("cdpruner-288-transprune", LLAVA, 0.024, BUNDLED_ONLY),
    ],
)
def test_kinds_of_evidence(method, model, paper_share, kind):
    found = find_evidence(method, model, 0.41, paper_share, bundled=False)
    assert found.kind == kind
    if found.published is not None:
        ratio = found.published.share / (100 * paper_share)
        assert 1 / NEAR <= ratio <= NEAR


def test_measured_figures_count_near_their_budget_only():
    assert find_evidence("divprune", None, 0.41, 0.1, bundled=True).kind == MEASURED_HERE
    assert find_evidence("divprune", None, 0.41, 0.1, bundled=True).accuracy == 100.0
    assert find_evidence("divprune", None, 0.85, 0.8, bundled=True).kind == NOTHING


def test_models_are_known_by_their_sizes(llava):
    for geometry in GEOMETRIES.values():
        assert published_model(geometry) == geometry.name
    assert published_model(Geometry.from_config(llava)) is None
    tuned = Geometry("my fine-tune", 32, 4096, 11008, 32, 32, 128, text_tokens=30)
    assert published_model(tuned) == LLAVA


def test_strong_evidence_comes_first(cli):
    entries = cli("suggest", "--model", "llava-1.5-7b", "--json").data["suggestions"]
    kinds = [KINDS.index(entry["evidence"]["kind"]) for entry in entries]
    assert kinds == sorted(kinds)
    assert entries[0]["evidence"]["published"]["model"] == LLAVA
    assert all(entry["evidence"]["published"]["source"] for entry in entries[:5])
