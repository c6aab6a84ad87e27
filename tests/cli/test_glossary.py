"""The glossary: plain words, found by every spelling, and the same on the page and in print."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.commands import commands
from transprune.cli.glossary import POINTER, all_words, find_word, markdown_page
from transprune.errors import PruneError
from transprune.report.terms import TERMS

PAGE = Path(__file__).parents[2] / "docs" / "glossary.md"

# the words that tables printed before anybody had said what they are
ASKED_FOR = ("boundary", "stage", "exact", "paper", "K/V", "TTV", "IGA", "oracle", "renumber")


def test_the_page_is_the_printed_one(cli):
    """To write it anew: transprune glossary --markdown > docs/glossary.md."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == markdown_page()
    assert cli("glossary", "--markdown").out == page


@pytest.mark.parametrize("text", [*ASKED_FOR, "41 % budget", "ttv", "k/v", "  95 %  interval "])
def test_a_word_is_found_by_every_spelling(cli, text):
    result = cli("glossary", text)
    assert result.code == 0
    assert find_word(text).plain in " ".join(result.out.split())
    assert cli("glossary", text, "--json").data["words"][0]["word"] == find_word(text).word


def test_every_word_is_listed_and_cut_nowhere(cli):
    shown = cli("glossary", env={"COLUMNS": "80"}).out
    assert max(map(len, shown.splitlines())) <= 80
    words = " ".join(shown.split())
    for word in all_words():
        assert f"{word.word} {word.plain}" in words


def test_no_spelling_has_two_meanings():
    spellings = [text.lower() for word in all_words() for text in (word.word, *word.also)]
    assert len(set(spellings)) == len(spellings) > 50


def test_the_words_of_the_report_are_in_the_glossary():
    words = [word for terms in TERMS for word in terms.split(", ")]
    assert len(words) > 10
    for word in words:
        find_word(word)


def test_a_typo_gets_a_suggestion(cli):
    result = cli("glossary", "bondary")
    assert result.code == 1
    assert "Did you mean 'boundary'?" in result.err
    with pytest.raises(PruneError, match="no word 'xyzzy' in the glossary"):
        find_word("xyzzy")


@pytest.mark.parametrize(
    "command", [words for words in commands() if len(words) == 1], ids=" ".join
)
def test_help_points_to_it(cli, command):
    expected = command != ("glossary",)
    assert (POINTER in cli(*command, "--help").out) == expected
    assert POINTER in cli("--help").out
