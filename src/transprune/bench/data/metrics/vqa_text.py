"""Texts as VQA compares them: lower case, digits for numbers, no articles and punctuation.

Antol et al., VQA, ICCV 2015, section on evaluation. Its list of contractions makes `dont` the same
word as `don't`; other words keep their apostrophes.
"""

from __future__ import annotations

import re

_WORDS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_WORDS.split())}
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_FULL_STOP = re.compile(r"\.(?!\d)")
_THOUSANDS = re.compile(r"\d,+\d")

# those of VQA's list: written without the apostrophe they are the same word
_SIMPLE = """
'twas ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd
he's how'd how'll how's isn't it'd it'll ma'am might've mightn't must've mustn't needn't not've
o'clock oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's
something'd something'll that's there'd there're there's they'd they'll they're they've wasn't we've
weren't what'll what're what's what've when's where'd where's where've who'd who'll who's who've
why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""

# and with one of several apostrophes at least
_DOUBLE = """
couldn't've hadn't've he'd've it'd've mightn't've 'ow's'at she'd've shouldn't've
somebody'd've someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've
y'all'll y'all'd've you'd've
"""
_OF_SIMPLE = {word.replace("'", ""): word for word in _SIMPLE.split()}
_OF_DOUBLE = {word.replace("'", ""): word for word in _DOUBLE.split()}


def normalise_vqa(text: str) -> str:
    """A text as VQA compares it.

    A mark with a space beside it is dropped, one between two characters becomes a space
    (`red/blue`), and one in a number is kept out (`1,000` is `1000`).
    """
    given = text.lower().replace("\n", " ").replace("\t", " ").strip()
    joined = _THOUSANDS.search(given) is not None

    found = given
    for mark in _MARKS:
        beside = f"{mark} " in given or f" {mark}" in given
        found = found.replace(mark, "" if beside or joined else " ")
    found = _FULL_STOP.sub("", found)

    words = [_NUMBERS.get(word, word) for word in found.split()]
    return " ".join(_contraction(word) for word in words if word not in ("a", "an", "the"))


def normalise_textvqa(text: str) -> str:
    """A text as TextVQA and VizWiz compare it: commas and question marks are dropped first.

    Singh et al., TextVQA, CVPR 2019, whose evaluation also parts `'s` from its word.
    """
    parted = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return normalise_vqa(parted)


def _contraction(word: str) -> str:
    """A word of the list with its apostrophes, any other word as it is."""
    bare = word.replace("'", "")
    if "'" in word and bare in _OF_DOUBLE:
        return _OF_DOUBLE[bare]
    return _OF_SIMPLE.get(word, word)
