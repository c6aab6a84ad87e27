"""Texts as metrics compare them."""

from __future__ import annotations

import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

# VQA's own rules; apostrophes are dropped, which equals its table of contractions
_WORDS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_WORDS.split())}
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_FULL_STOP = re.compile(r"\.(?!\d)")
_THOUSANDS = re.compile(r"\d,\d")


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and repeated spaces, as SQuAD and VQA compare."""
    bare = text.lower().translate(_PUNCTUATION)
    words = _ARTICLES.sub(" ", bare).split()

    # an answer may be the option letter "A", which is not an article
    if not words:
        words = bare.split()
    return " ".join(words)


def bare(text: str) -> str:
    """Lower case, without punctuation and surrounding spaces."""
    return text.lower().translate(_PUNCTUATION).strip()


def normalise_vqa(text: str) -> str:
    """A text as VQA compares it: lower case, digits for numbers, no articles and punctuation.

    Antol et al., VQA, ICCV 2015, section on evaluation. A mark with a space beside it is dropped,
    one between two characters becomes a space (`red/blue`), and one in a number is kept out
    (`1,000` is `1000`).
    """
    found = text.lower().replace("\n", " ").replace("\t", " ").strip()
    joined = _THOUSANDS.search(found) is not None

    for mark in _MARKS:
        beside = f"{mark} " in found or f" {mark}" in found
        found = found.replace(mark, "" if beside or joined else " ")
    found = _FULL_STOP.sub("", found).replace("'", "")

    words = [_NUMBERS.get(word, word) for word in found.split()]
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def option_letter(text: str) -> str:
    """`"B"` from `"B"`, `"(b)"`, `"B. red"` or `"The answer is B"`; empty without such a letter."""
    found = re.match(r"\s*\(?([A-Za-z])\)?\s*(?:[.:)]|$)", text)

    # inside a sentence only upper case counts: a lower-case "a" is usually an article
    if found is None:
        found = re.search(r"(?<![A-Za-z])\(?([A-Z])\)?(?![A-Za-z])", text)

    return found.group(1).upper() if found else ""
