"""`transprune glossary`: the words of the tables, in plain English."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from transprune.cli.console import new_table, print_json, show
from transprune.cli.glossary_words import GLOSSARY, Word
from transprune.cli.options import Json

if TYPE_CHECKING:
    from rich.table import Table

# the last line of every help text
POINTER = "A word you do not know: transprune glossary WORD"


def glossary_command(
    word: Annotated[
        str | None, typer.Argument(metavar="WORD", help="One word; default: all.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page docs/glossary.md.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say in plain words what the words of the tables mean."""
    words = all_words() if word is None else [find_word(word)]
    if as_json:
        print_json({"words": [asdict(entry) for entry in words]})
    elif markdown:
        # not through rich, which would wrap the lines of the page at the width of the terminal
        typer.echo(markdown_page(), nl=False)
    elif word is None:
        show(*_tables())
    else:
        show(*_lines(words[0]))


def all_words() -> list[Word]:
    """Every word, in the order of the page."""
    return [word for words in GLOSSARY.values() for word in words]


def find_word(text: str) -> Word:
    """The word with this spelling; case does not matter.

    Raises:
        PruneError: there is none; the message names the closest one.
    """
    from transprune.errors import PruneError
    from transprune.registry import did_you_mean

    spellings: dict[str, Word] = {}
    for word in all_words():
        for spelling in (word.word, *word.also):
            spellings[spelling.lower()] = word

    wanted = " ".join(text.lower().split())
    if wanted in spellings:
        return spellings[wanted]

    raise PruneError(
        f"no word {text!r} in the glossary.{did_you_mean(wanted, spellings)} "
        "All words: transprune glossary. Methods: transprune methods."
    )


def markdown_page() -> str:
    """The page docs/glossary.md."""
    lines = [
        "# Words",
        "",
        "The words of the tables and help texts, in the order in which a newcomer meets them.",
        "`transprune glossary` prints the same, `transprune glossary WORD` one of them.",
    ]

    for heading, words in GLOSSARY.items():
        lines += ["", f"## {heading}", "", "| word | is |", "|---|---|"]
        for word in words:
            # a bar would end the cell of a Markdown table
            sentence = " ".join(_sentences(word)).replace("|", "\\|")
            lines.append(f"| **{word.word}** | {sentence} |")

    return "\n".join(lines) + "\n"


def _tables() -> list[Table | str]:
    """All words with their plain meaning, one table for each group."""
    width = max(len(word.word) for word in all_words())
    parts: list[Table | str] = []

    for heading, words in GLOSSARY.items():
        table = new_table(heading, ("word", "is"), left=("word",), wrap=("is",))
        table.show_header = False
        # the same in every group, so that the meanings stand below each other
        table.columns[0].min_width = width
        for word in words:
            table.add_row(word.word, word.plain)
        parts += [table, ""]

    return [*parts, "One of them with all that there is to know: transprune glossary WORD"]


def _lines(word: Word) -> list[str]:
    """One word in full."""
    lines = [f"{word.word}: {' '.join(_sentences(word))}"]
    if word.also:
        lines.append(f"Also: {', '.join(word.also)}")
    return lines


def _sentences(word: Word) -> list[str]:
    """What it is, and what else there is to know."""
    return [f"{word.plain}.", word.more] if word.more else [f"{word.plain}."]
