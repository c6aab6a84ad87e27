"""The option that a free answer to a multiple-choice question means, by MMBench's rules.

MMBench (Liu et al., ECCV 2024) looks for a letter, then for the text of an option; what both leave
open goes to a language model. Here, as in lmms-eval's task without that model, letters in common
surroundings are ranked instead. A question without some of its four options has those that exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import ascii_uppercase

LETTERS = "ABCDE"  # E stands for none of them
_SENTENCE = 3  # an A among more words may be an article

# how a letter may be marked, in the order in which marks count
_MARKS = (
    *(("", "."), ("", ","), ("", ":"), ("", ")"), ("", ").")),
    *(("(", ")"), ("(", ").")),
    *((":", ""), (":", ","), (":", "."), (":", ")"), (":", ").")),
)

# the same for letters anywhere: how it is marked, and what that counts
_SURROUNDINGS = (("(", ")", 6), ("", ".", 5), ("", ":", 4), ("", ")", 3), ("", " ", 2))
_START, _END, _PHRASE, _ANYWHERE = 10, 9, 7, 0

_NOUNS = ("answer", "option", "choice")
_PHRASES = (
    *(f"{noun} is" for noun in _NOUNS),
    *(f"the {noun} is" for noun in ("answer", "choice")),
    *(f"{word} {noun} is" for noun in _NOUNS for word in ("correct", "best")),
    *("my answer is", "my choice is", "i choose", "i select", "i pick"),
)

Candidate = tuple[int, int, str]  # what it counts, where it stands, letter


def find_option(text: str, options: Sequence[str]) -> str:
    """The letter of the option that an answer means; empty if it means none.

    Args:
        text: the answer.
        options: texts of the options, of A first.
    """
    return _marked_letter(text) or _named_option(text, options) or _best_letter(text, len(options))


def _marked_letter(text: str) -> str:
    """The only letter that is a word of its own, with or without a mark."""
    words = text.split()
    alone = [letter for letter in LETTERS if letter in words]
    if len(alone) == 1 and not ("A" in alone and len(words) > _SENTENCE):
        return alone[0]

    for before, behind in _MARKS:
        found = [letter for letter in LETTERS if f"{before}{letter}{behind}" in words]
        if len(found) == 1:
            return found[0]
    return ""


def _named_option(text: str, options: Sequence[str]) -> str:
    """The only option whose text is in the answer."""
    answer = text.lower()
    pairs = zip(ascii_uppercase, options, strict=False)
    found = [letter for letter, option in pairs if option.lower() in answer]
    return found[0] if len(found) == 1 else ""


def _best_letter(text: str, count: int) -> str:
    """The letter in the surroundings that count most; of equal ones the last."""
    bare = text.strip()
    for mark in ",.!?;:'\"":
        bare = bare.strip(mark)
    if not bare:
        return ""

    letters = ascii_uppercase[:count]
    padded = f" {bare} "
    found = [*_surrounded(padded, letters), *_at_the_ends(padded, letters)]
    if not found:
        found = [(_ANYWHERE, padded.rfind(one), one) for one in letters if one in padded]
    return max(found, key=lambda one: one[:2])[2] if found else ""


def _surrounded(text: str, letters: str) -> Iterator[Candidate]:
    """Letters with a mark beside them, and behind phrases that announce an answer."""
    for before, behind, weight in _SURROUNDINGS:
        for letter in letters:
            place = text.rfind(f"{before}{letter}{behind}")
            if place >= 0:
                yield weight, place, letter

    lower = text.lower()
    for phrase in _PHRASES:
        start = lower.find(phrase)
        for letter in letters:
            place = text.find(letter, start + len(phrase))
            if start >= 0 and place >= 0:
                yield _PHRASE, place, letter


def _at_the_ends(text: str, letters: str) -> Iterator[Candidate]:
    """Letters with which the text begins or ends, unless they belong to a word."""
    bare = text.strip()
    for letter in letters:
        if bare.startswith(letter) and not bare[1:2].isalpha():
            yield _START, 0, letter
        if bare.endswith(letter) and not bare[-2:-1].isalpha():
            yield _END, len(text) - 1, letter
