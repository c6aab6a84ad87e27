"""How questions are worded: several ways each, of which the last is never trained on."""

from __future__ import annotations

import numpy as np

PHRASINGS: dict[str, tuple[str, ...]] = {
    "exist": (
        "Is there {a_name} in the picture?",
        "Can you see {a_name}?",
        "Does the picture show {a_name}?",
        "Do you find {a_name} here?",
    ),
    "what": (
        "What is {place}?",
        "What do you see {place}?",
        "Which thing is {place}?",
        "Name what is {place}.",
    ),
    "where": (
        "Where is the {name}?",
        "In which part of the picture is the {name}?",
        "Where do you see the {name}?",
        "The {name} is in which place?",
    ),
    "count": (
        "How many times do you see {a_name}?",
        "How often does {a_name} occur?",
        "Count how many times there is {a_name}.",
        "What is the number of times that {a_name} is there?",
    ),
    "count all": (
        "How many things are there?",
        "How many things do you see?",
        "Count the things in the picture.",
        "What is the number of things here?",
    ),
    "color": (
        "What color is the {name}?",
        "Which color does the {name} have?",
        "Tell me the color of the {name}.",
        "The {name} has what color?",
    ),
    "read": (
        "What does the {name} say?",
        "What is written on the {name}?",
        "Read the {name}.",
        "Which word or number is on the {name}?",
    ),
    "size": (
        "Which is {compared}, the {name} or the {other}?",
        "Which one is {compared}: the {name} or the {other}?",
        "Of the {name} and the {other}, which is {compared}?",
        "Compare the {name} and the {other}: which is {compared}?",
    ),
    "relation": (
        "Is the {name} {relation} the {other}?",
        "Does the {name} lie {relation} the {other}?",
        "Would you say that the {name} is {relation} the {other}?",
        "Do you see the {name} {relation} the {other}?",
    ),
    "relation what": (
        "What is {relation} the {other}?",
        "Which thing is {relation} the {other}?",
        "Name the thing {relation} the {other}.",
        "What do you find {relation} the {other}?",
    ),
    "mc": (
        "{question} {options} Answer with the letter.",
        "{question} Choose one: {options}",
        "{question} Which is right? {options}",
        "{options} Which letter answers this: {question}",
    ),
}


def word(what: str, rng: np.random.Generator, held_out: bool, **parts: str) -> str:
    """Word a question.

    Args:
        what: a key of `PHRASINGS`.
        rng: chooses among the phrasings of training.
        held_out: use the one that is never trained on.
        parts: what the phrasings name; `a_name` gets its article here.
    """
    *trained, last = PHRASINGS[what]
    chosen = trained[rng.integers(len(trained))]  # drawn in any case: one stream for both

    if "name" in parts:
        parts["a_name"] = with_article(parts["name"])
    return (last if held_out else chosen).format(**parts)


def with_article(name: str) -> str:
    """`a cat`, `an owl`."""
    article = (
        "an" if name[0].lower() in "aeiou" and not name.startswith(("uni", "one", "eu")) else "a"
    )
    return f"{article} {name}"
