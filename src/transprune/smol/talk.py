"""A dozen texts without pictures, and what a language model answers to them.

They are recorded before training (`talk.json`), and asked again of the assembled model. Its language
model was updated, so the words may differ; that it still talks is for a reader to see.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from transprune.errors import CheckpointError
from transprune.nano.messages import first_line

TALK = (
    "What is the capital of France?",
    "Name three fruits.",
    "What colour is the sky on a clear day?",
    "Write one sentence about a dog.",
    "What is 2 + 3?",
    "Which animal says meow?",
    "Translate to French: good morning.",
    "What do bees make?",
    "Complete the sentence: The opposite of hot is",
    "How many days are in a week?",
    "What is a fire engine for?",
    "Give a synonym of happy.",
)
MOST = 40  # new tokens of an answer


@torch.no_grad()
def answer_all(model: Any, tokenizer: Any, prompts: Sequence[str]) -> dict[str, str]:
    """Answer each text by itself, greedily, with up to 40 new tokens. -> answer by text."""
    answers = {}

    for prompt in prompts:
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        ).to(model.device)

        ids = model.generate(**inputs, max_new_tokens=MOST, do_sample=False)
        new = ids[0, inputs["input_ids"].shape[1] :]
        answers[prompt] = tokenizer.decode(new, skip_special_tokens=True).strip()

    return answers


def read_talk(folder: Path) -> dict[str, str]:
    """What the language model said before training. -> answer by text.

    Args:
        folder: of the language model, of `language.make_language`.

    Raises:
        CheckpointError: the record is missing or damaged.
    """
    file = folder / "talk.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["answers"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file} does not say what the language model answers ({first_line(error)}); make it "
            "again: transprune smol language"
        ) from error
