"""Dialogues without pictures, which the language model makes up itself.

While it learns to read visual tokens, it is held to what it said about these before. Both turns are
its own: behind the template's system text and the beginning of a user's turn it writes a question,
and then the answer (the idea of Magpie, Xu et al., ICLR 2025, arXiv 2406.08464).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transprune.errors import TrainingError

DIALOGUES = 192
LENGTH = 96  # tokens of a dialogue
_BATCH = 32
_ROUNDS = 60  # batches at most; SmolLM2 needs six
_TEXT = "A text of the user."  # takes the user's place in the template


@torch.no_grad()
def make_dialogues(
    model: Any, tokenizer: Any, count: int = DIALOGUES, length: int = LENGTH, seed: int = 0
) -> Tensor:
    """Let a language model write dialogues.

    Args:
        model: the language model.
        tokenizer: its tokenizer, with a chat template.
        count: how many.
        length: tokens of each, with the template's own.
        seed: of the random draws.

    Returns:
        long [count, length]; what is behind the end of the answer is padding.

    Raises:
        TrainingError: the model does not end its turns.
    """
    template = tokenizer.apply_chat_template(
        [{"role": "user", "content": _TEXT}], add_generation_prompt=True, tokenize=False
    )
    before, behind = template.split(_TEXT)
    start = tokenizer(before, add_special_tokens=False).input_ids
    turn = tokenizer(behind, add_special_tokens=False).input_ids

    torch.manual_seed(seed)
    rows: list[list[int]] = []
    for _ in range(_ROUNDS):
        if len(rows) >= count:
            break
        asked = _continue(model, tokenizer, [start] * _BATCH, length // 2)
        # a question that did not end has no place for an answer
        whole = [row for row in asked if row[-1] == tokenizer.eos_token_id]
        prompts = [row[:-1] + turn for row in whole]
        rows += _continue(model, tokenizer, prompts, length)

    if len(rows) < count:
        raise TrainingError(
            f"the language model ended its turn in {len(rows)} of {_ROUNDS * _BATCH} dialogues; "
            f"expected {count}: it is not one that was trained to talk"
        )

    padded = torch.full((count, length), tokenizer.pad_token_id)
    for number, row in enumerate(rows[:count]):
        kept = row[:length]
        padded[number, : len(kept)] = torch.tensor(kept)
    return padded


def _continue(model: Any, tokenizer: Any, rows: list[list[int]], most: int) -> list[list[int]]:
    """Continue each row until its turn ends, or until it has `most` tokens."""
    if not rows:
        return []

    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), tokenizer.pad_token_id)
    real = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, longest - len(row) :] = torch.tensor(row)
        real[number, longest - len(row) :] = 1

    out = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=real.to(model.device),
        max_new_tokens=max(1, most - longest),
        do_sample=True,
        temperature=0.9,
        top_p=0.95,
        top_k=0,
    )

    found = []
    for row, new in zip(rows, out[:, longest:].tolist(), strict=True):
        end = new.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in new else len(new)
        found.append(row + new[:end])
    return found
