"""README: short, and every command in it is one that exists, with options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cli.commands import commands
from support.readme_table import put
from transprune.cli.cost import find_geometry
from transprune.cli.suggest_published import LLAVA, NEXT, PUBLISHED
from transprune.cost.count import count_method
from transprune.methods.common.recipe import resolve

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def command_lines(text):
    """The lines of a page that call `transprune`, continued lines joined, without comments."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.M | re.S)
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        if line.startswith("transprune "):
            yield line.partition(" #")[0].partition("  # ")[0].strip()
    # commands within sentences, which may break into two lines
    for code in re.findall(r"`(transprune [^`]+)`", text):
        yield " ".join(code.split())


LINES = sorted({line for page in PAGES for line in command_lines(page.read_text("utf-8"))})


def test_there_are_commands_to_check():
    assert len(LINES) > 20
    assert any(line.startswith("transprune suggest") for line in LINES)
    assert any("nano plot" in line for line in LINES)


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_documents_exists(cli, line):
    words = shlex.split(line)[1:]
    groups = {name[0] for name in commands() if len(name) == 2}
    named = [word for word in words[:2] if not word.startswith("-")]
    name = tuple(named) if words[0] in groups else (words[0],)

    # a group by itself may have options of its own
    assert name in commands() or name[-1] in groups, line
    shown = cli(*name, "--help").out
    for word in words:
        if word.startswith("--") and word != "--help":
            assert re.search(rf"{word}\b", shown), f"{word} of {line!r}"


def test_recipes_of_the_readme_are_recipes():
    recipes = re.findall(r'prune\(model, "([^"]+)"\)', README)
    assert len(recipes) >= 2
    for recipe in recipes:
        resolve(recipe)


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_what_it_says_of_published_figures_is_what_suggest_says():
    """The paragraph `Which method should I use?`: the best near 40 %, and at a sixth."""
    near_40 = [row for row in PUBLISHED if 39 <= row.share <= 42]
    for model, accuracy in ((LLAVA, "100.0"), (NEXT, "99.8")):
        best = max((row for row in near_40 if row.model == model), key=lambda row: row.accuracy)
        assert best.method == "transprune"
        assert f"{best.accuracy:.1f}" == accuracy
        assert accuracy in README

    sixth = [row for row in PUBLISHED if row.model == LLAVA and 15 <= row.share <= 18]
    assert sorted(f"{row.accuracy:.1f}" for row in sixth) == ["98.0", "98.3"]
    assert "98.3 and 98.0 on LLaVA-1.5-7B" in " ".join(README.split())


def test_what_it_saves_is_what_cost_counts():
    """The paragraph `What it saves`: 47 % of the work, and of the keys and values."""
    geometry = find_geometry("llava-1.5-7b")
    cost = count_method(geometry, resolve("transprune-high"), convention="exact")
    assert f"{cost.prefill_share:.0%}" == f"{cost.kv_share:.0%}" == "47%"
    assert "TransPrune-High leaves 47 % of both" in README
    assert (geometry.visual_tokens, geometry.text_tokens) == (576, 64)


def test_the_table_of_methods_and_models_is_what_the_registries_say():
    """To write it anew: PYTHONPATH=tests python -m support.readme_table."""
    assert put(README) == README


def test_pictures_and_pages_it_names_are_there():
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", README):
        if not target.startswith("https://"):
            assert (ROOT / target).exists(), target
