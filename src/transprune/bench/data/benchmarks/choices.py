"""Benchmarks answered by the letter of an option: SEED-Image, ScienceQA-IMG, MMBench-EN.

The prompts are those of LLaVA-1.5's evaluation, as in `words`.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from transprune.bench.data.benchmarks.base import Asked, Benchmark, Row
from transprune.bench.data.metrics.grouped import ROTATION

LETTER = "\nAnswer with the option's letter from the given choices directly."
_NONE = "nan"  # how a table without empty cells writes an option or hint that does not exist


def list_options(options: Sequence[str]) -> str:
    """`A. red`, `B. blue`, one a line."""
    lines = zip(ascii_uppercase, options, strict=False)
    return "\n".join(f"{letter}. {text}" for letter, text in lines)


def _seed(row: Row) -> Asked | None:
    """A question about a picture; those about videos are not part of SEED-Image."""
    if row["data_type"] != "image":
        return None

    options = [str(row[f"choice_{letter}"]) for letter in "abcd"]
    question = f"{row['question']}\n{list_options(options)}{LETTER}"
    number = str(row["question_id"])
    return Asked(number, str(row.get("data_id") or number), question, (str(row["answer"]),))


def _scienceqa(row: Row) -> Asked:
    """A question with its hint; the rows have no id, so `read` numbers them."""
    hint = f"Context: {row['hint']}\n" if row["hint"] else ""
    options = list_options([str(text) for text in row["choices"]])
    answer = ascii_uppercase[int(row["answer"])]
    return Asked("", "", f"{hint}{row['question']}\n{options}{LETTER}", (answer,))


def _mmbench(row: Row) -> Asked:
    """One rotation of a question."""
    named = [str(row.get(letter)) for letter in "ABCD"]
    options = [text for text in named if text not in (_NONE, "None", "")]
    hint = str(row["hint"])
    before = "" if hint in (_NONE, "None", "") else f"{hint}\n"

    index = int(row["index"])
    return Asked(
        id=str(index),
        image=str(index % ROTATION),
        question=f"{before}{row['question']}\n{list_options(options)}{LETTER}",
        # behind the letter the options: an answer may be the text of one
        answers=(str(row["answer"]), *options),
        kind=str(row["category"]),
    )


SEED = Benchmark(
    name="seed",
    title="SEED-I",
    dataset="SEED-Bench",
    split="test",
    columns=("question_id", "image", "question", "choice_a", "answer", "data_type"),
    ask=_seed,
    metric="first_character",
    questions=14233,
)

SCIENCEQA = Benchmark(
    name="sqa",
    title="SQA-I",
    dataset="ScienceQA",
    config="ScienceQA-IMG",
    split="test",
    columns=("image", "question", "choices", "answer", "hint"),
    ask=_scienceqa,
    metric="leading_letter",
    questions=2017,
)

MMBENCH = Benchmark(
    name="mmb",
    title="MMB-en",
    dataset="MMBench",
    config="en",
    split="dev",
    columns=("index", "image", "question", "hint", "A", "B", "answer", "category"),
    ask=_mmbench,
    metric="circular",
    questions=4329,
)
