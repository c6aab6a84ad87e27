"""The reference: what the unpruned model answers, computed once and kept on disk.

One file for each batch of questions, written in one step, so a killed pass goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from transprune.bench.data.tasks.base import Item
from transprune.bench.run.answers import to_device
from transprune.bench.run.prepared import PreparedQuestions
from transprune.errors import TuneError

# how `generate` is called: greedy, with the model's own logits; the sampling settings of a checkpoint
# are unset, because transformers warns that they are ignored
GREEDY: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "temperature": None,
    "top_p": None,
    "top_k": None,
    "output_logits": True,
    "return_dict_in_generate": True,
}

OnBatch = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class Reference:
    """The unpruned answers of one batch of B questions.

    Attributes:
        tokens: the first T answer tokens, long [B, T].
        real: whether a token belongs to the answer, its end included, bool [B, T].
        log_probs: log-probabilities at each of them, float16 [B, T, V]. Their rounding error is a
            share of the logarithm, so it is small where the probability is large.
        last: the last hidden state of the last prompt token, float32 [B, D].
    """

    tokens: Tensor
    real: Tensor
    log_probs: Tensor
    last: Tensor


def references(
    questions: PreparedQuestions,
    batches: Sequence[Sequence[Item]],
    folder: Path,
    answer_tokens: int,
    on_batch: OnBatch,
) -> list[Reference]:
    """The reference of each batch, read from `folder` where it is there.

    Raises:
        TuneError: a file that cannot be read or written, or answers that are not numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []

    for number, items in enumerate(batches):
        on_batch(number, len(batches))
        file = folder / f"{number:05d}.safetensors"
        known = file.exists()
        reference = _read(file, len(items)) if known else _run(questions, items, answer_tokens)
        _check_numbers(reference, items)
        if not known:
            _write(file, reference)
        found.append(reference)

    on_batch(len(batches), len(batches))
    return found


def last_hidden(questions: PreparedQuestions, inputs: dict[str, Any]) -> Tensor:
    """The last hidden state of the last prompt token. -> float32 [B, D]."""
    # prompts are padded on the left, so the last column is the last token of each
    hidden = questions.base(**inputs).last_hidden_state  # [B, L, D]
    return hidden[:, -1].float()


def _run(questions: PreparedQuestions, items: Sequence[Item], answer_tokens: int) -> Reference:
    model = questions.checkpoint.model
    inputs = to_device(questions.batch(items, encoded=True), model)

    with torch.no_grad():
        last = last_hidden(questions, inputs)
        given = model.generate(
            **inputs,
            max_new_tokens=answer_tokens,
            **GREEDY,
        )

    logits = torch.stack(given.logits, dim=1).float()  # [B, T, V]
    tokens = given.sequences[:, inputs["input_ids"].shape[1] :]  # [B, L + T] -> [B, T]

    return Reference(
        tokens=tokens.cpu(),
        real=_real(tokens, model.generation_config.eos_token_id).cpu(),
        log_probs=logits.log_softmax(dim=-1).half().cpu(),
        last=last.cpu(),
    )


def _real(tokens: Tensor, end: int | list[int] | None) -> Tensor:
    """Which tokens belong to the answers: those up to the first end, itself included. [B, T]."""
    ends = [] if end is None else [end] if isinstance(end, int) else list(end)
    is_end = torch.isin(tokens, torch.tensor(ends, dtype=tokens.dtype, device=tokens.device))

    # ends before a token, not counting the token itself
    before = is_end.long().cumsum(dim=1) - is_end.long()
    return before == 0


def _check_numbers(reference: Reference, items: Sequence[Item]) -> None:
    """Raise TuneError where nothing can be compared: every distance would be NaN."""
    # minus infinity is the logarithm of a token that cannot follow
    lost = reference.log_probs.isnan().flatten(1).any(dim=1)
    lost = lost | ~reference.last.isfinite().all(dim=1)  # [B]
    if not lost.any():
        return

    first = items[int(lost.int().argmax())]
    raise TuneError(
        f"the unpruned model's answers to {int(lost.sum())} of {len(items)} questions are not "
        f"numbers (NaN or infinity), the first of them to {first.id!r}, so nothing can be compared "
        "with them; try --dtype float32 or bfloat16"
    )


def _read(file: Path, rows: int) -> Reference:
    try:
        data = load_file(file)
        reference = Reference(**data)
    except (OSError, SafetensorError, TypeError) as error:
        raise TuneError(
            f"{file} is damaged ({error}); remove it, and it is computed again"
        ) from error

    if len(reference.tokens) != rows:
        raise TuneError(
            f"{file} holds {len(reference.tokens)} answers, but its batch has {rows} questions; "
            "remove the folder, and it is computed again"
        )

    return reference


def _write(file: Path, reference: Reference) -> None:
    # a file under its final name is always complete
    draft = file.with_suffix(".part")
    tensors = {name: value.contiguous() for name, value in vars(reference).items()}
    try:
        save_file(tensors, draft)
        os.replace(draft, file)
    except (OSError, SafetensorError) as error:
        raise TuneError(f"cannot write {file}: {error}; choose another --out") from error
