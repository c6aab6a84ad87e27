"""Texts as metrics compare them."""

from __future__ import annotations

import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and repeated spaces, as SQuAD and VQA compare."""
    bare = text.lower().translate(_PUNCTUATION)
    words = _ARTICLES.sub(" ", bare).split()

    # an answer may be the option letter "A", which is not an article
    if not words:
        words = bare.split()
    return " ".join(words)


def bare(text: str) -> str:
    """Lower case, without punctuation; spaces stay as they are."""
    return text.lower().translate(_PUNCTUATION)


def option_letter(text: str) -> str:
    """`"B"` from `"B"`, `"(b)"`, `"B. red"` or `"The answer is B"`; empty without such a letter."""
    found = re.match(r"\s*\(?([A-Za-z])\)?\s*(?:[.:)]|$)", text)

    # inside a sentence only upper case counts: a lower-case "a" is usually an article
    if found is None:
        found = re.search(r"(?<![A-Za-z])\(?([A-Z])\)?(?![A-Za-z])", text)

    return found.group(1).upper() if found else ""
