"""The closed world of the bundled model: colours, shapes, characters, and the whole vocabulary.

The order of `WORDS` is the vocabulary, so a word's place is its token id.
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
LIGHT = frozenset({"yellow", "orange", "cyan", "white"})  # their characters are drawn dark
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star")
SIZES = ("small", "large")
DIGITS = tuple("0123456789")
LETTERS = tuple("ACEHJKLPTX")
CHARACTERS = DIGITS + LETTERS
OPTIONS = tuple("ABCD")  # of a multiple-choice question

# cells of the 4 x 4 board, in training questions and in scene descriptions
ROWS = ("row1", "row2", "row3", "row4")  # top to bottom
COLUMNS = ("col1", "col2", "col3", "col4")  # left to right

# `</s>` must not have id 2: CLIP's text tower in transformers takes eos_token_id == 2 as the mark
# of an old checkpoint, and would then pool at the largest id instead of at the end of the text
SPECIAL = ("<pad>", "<s>", "<unk>", "</s>", "<image>", "USER:", "ASSISTANT:")
PAD, BOS, UNK, EOS, IMAGE, USER, ASSISTANT = range(len(SPECIAL))

_FUNCTION_WORDS = (
    *("yes", "no", "is", "are", "there", "a", "the", "in", "of"),
    *("on", "with", "at", "and", "or", "it", "has"),
)
_QUESTION_WORDS = ["how", "many", "what", "which", "where", "image"]
_NOUNS = ["color", "shape", "size", "number", "letter", "object", "objects"]
_PLACES = ["left", "right", "above", "below", "top", "bottom"]

WORDS: tuple[str, ...] = (
    *SPECIAL,
    *("?", ",", "."),
    *COLOR_NAMES,
    *SHAPES,
    *SIZES,
    *DIGITS,
    *sorted({*LETTERS, *OPTIONS}),  # "A" and "C" are both letters and options
    *_FUNCTION_WORDS,
    *_QUESTION_WORDS,
    *_NOUNS,
    *_PLACES,
    *ROWS,
    *COLUMNS,
)
IDS: dict[str, int] = {word: number for number, word in enumerate(WORDS)}


def encode(text: str | Sequence[str]) -> list[int]:
    """Convert a text, or a list of words, to token ids; words of a text are separated by spaces.

    Raises:
        KeyError: a word outside the vocabulary.
    """
    words = text.split() if isinstance(text, str) else text
    return [IDS[word] for word in words]


def character_kind(character: str) -> str:
    """Name the kind of a character: `"number"` or `"letter"`."""
    return "number" if character in DIGITS else "letter"
