"""The cluster files are valid, and call the command with options that it has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples" / "ray").glob("*.yaml"))
DOCUMENT = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")


def commands():
    """Every call of `transprune batch` in the examples and in the document, as words."""
    for text in (*(file.read_text(encoding="utf-8") for file in FILES), DOCUMENT):
        for found in re.findall(
            r"transprune batch ([^`]*?)(?:\"\n|\n\n|\n```|\n  shut)", text, re.S
        ):
            # lines that go on, of a comment or of a command
            yield shlex.split(re.sub(r"\\?\n\s*#?", " ", found))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_cluster_file_is_valid_and_says_that_it_was_not_tried(file):
    yaml = pytest.importorskip("yaml")
    text = file.read_text(encoding="utf-8")
    assert yaml.safe_load(text)
    assert "# NOT tried" in text


def test_every_option_exists(cli):
    shown = cli("batch", "--help").out
    found = list(commands())
    assert len(found) >= 5
    for words in found:
        flags = [word for word in words if word.startswith("--")]
        assert {"--input", "--output"} <= set(flags), words
        assert all(re.search(rf"{flag}\b", shown) for flag in flags), words
