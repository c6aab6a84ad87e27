"""`transprune cost`: the same figures as the library, as tables and as JSON."""

from __future__ import annotations

import pytest

from transprune import TransPrune
from transprune.cost.count import count_method
from transprune.cost.geometry import known_geometry
from transprune.cost.paper import paper_table


def test_figures_are_the_library_s(cli):
    result = cli("cost", "--model", "llava-1.5-7b", "--method", "transprune-high", "--json")
    expected = count_method(known_geometry("llava-1.5-7b"), TransPrune.high(), convention="exact")
    assert result.data["methods"]["transprune-high"]["exact"] == expected.to_dict()
    assert (result.data["visual_tokens"], result.data["text_tokens"]) == (576, 64)


def test_token_counts_can_be_given(cli):
    result = cli(
        "cost",
        "--model",
        "qwen2.5-vl-7b",
        "--visual-tokens",
        "300",
        "--text-tokens",
        "20",
        "--json",
    )

    assert (result.data["visual_tokens"], result.data["text_tokens"]) == (300, 20)
    assert set(result.data["methods"]) == {
        "transprune-high",
        "transprune-low",
        "fastv",
        "pdrop",
        "visionzip",
    }


@pytest.mark.parametrize("columns", ["80", "100"])
def test_table_fits_and_cuts_nothing(cli, columns):
    result = cli("cost", env={"COLUMNS": columns})
    assert max(map(len, result.out.splitlines())) <= int(columns)
    assert "…" not in result.out
    row = next(
        line for line in result.out.splitlines() if line.startswith("transprune-high")
    ).split()
    assert row[1:7] == ["1.56", "T", "40.8%", "3.99", "T", "46.9%"]


def test_nano_and_folders(cli, qwen):
    assert cli("cost", "--model", "nano", "--json").data["model"]["layers"] == 16
    assert cli("cost", "--model", qwen, "--json").data["model"]["kv_heads"] == 2
    assert cli("cost", "--model", qwen / "config.json", "--json").data["model"]["layers"] == 14


def test_unknown_model(cli):
    result = cli("cost", "--model", "lava-1.5-7b")
    assert result.code == 1
    assert "Did you mean 'llava-1.5-7b'?" in result.err


def test_unknown_hub_id(cli):
    result = cli("cost", "--model", "nobody/nothing-of-this-name")
    assert result.code == 1
    assert "As a hub id" in result.err


def test_paper_table(cli):
    result = cli("cost", "--paper", env={"COLUMNS": "80"})
    assert max(map(len, result.out.splitlines())) <= 80
    assert "TransPrune-High at 9/11/14" in result.out
    assert result.out.count("✓ matches") == sum(row.verdict == "matches" for row in paper_table())
    assert "match to the printed digit" in result.out


def test_paper_json(cli):
    rows = cli("cost", "--paper", "--json").data["rows"]
    assert len(rows) == len(paper_table())
    assert {"table", "model", "method", "published", "ours", "verdict"} <= set(rows[0])
