"""The closed world of the bundled model: its colours, shapes, characters, and every word it knows.

The order of `WORDS` is the vocabulary. `</s>` must not have id 2: CLIP's text tower in transformers takes that id for
the sign of an old checkpoint and would pool at the largest id instead of at the end of the text.
"""

from __future__ import annotations

from collections.abc import Sequence

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (205, 35, 35),
    "green": (35, 160, 50),
    "blue": (40, 70, 215),
    "yellow": (240, 215, 40),
    "purple": (140, 45, 175),
    "orange": (245, 135, 25),
    "cyan": (60, 215, 225),
    "white": (245, 245, 245),
}
COLOR_NAMES = tuple(COLORS)
LIGHT = frozenset({"yellow", "orange", "cyan", "white"})  # carry dark characters
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star")
SIZES = ("small", "large")
DIGITS = tuple("0123456789")
LETTERS = tuple("ACEHJKLPTX")
CHARACTERS = DIGITS + LETTERS
OPTIONS = tuple("ABCD")
ROWS = ("row1", "row2", "row3", "row4")  # words of scene descriptions, top to bottom
COLUMNS = ("col1", "col2", "col3", "col4")  # left to right

SPECIAL = ("<pad>", "<s>", "<unk>", "</s>", "<image>", "USER:", "ASSISTANT:")
PAD, BOS, UNK, EOS, IMAGE, USER, ASSISTANT = range(len(SPECIAL))

WORDS: tuple[str, ...] = (
    *SPECIAL,
    *("?", ",", "."),
    *COLOR_NAMES,
    *SHAPES,
    *SIZES,
    *DIGITS,
    *sorted({*LETTERS, *OPTIONS}),
    *(
        "yes",
        "no",
        "is",
        "are",
        "there",
        "a",
        "the",
        "in",
        "of",
        "on",
        "with",
        "at",
        "and",
        "or",
        "it",
        "has",
    ),
    *("how", "many", "what", "which", "where", "image"),
    *("color", "shape", "size", "number", "letter", "object", "objects"),
    *("left", "right", "above", "below", "top", "bottom"),
    *ROWS,
    *COLUMNS,
)
IDS: dict[str, int] = {word: number for number, word in enumerate(WORDS)}


def encode(text: str | Sequence[str]) -> list[int]:
    """Ids of a text whose words are separated by spaces.

    Raises:
        KeyError: a word outside the vocabulary.
    """
    return [IDS[word] for word in (text.split() if isinstance(text, str) else text)]


def character_kind(character: str) -> str:
    """What a character is called: `"number"` or `"letter"`."""
    return "number" if character in DIGITS else "letter"
