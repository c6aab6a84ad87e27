"""Prepared prompts generated together, each as it would be alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from transprune.families import find_family
from transprune.models.batching import (
    end_ids,
    media_inputs,
    pad_left,
    padding_id,
    text_inputs,
)
from transprune.models.checkpoint import Checkpoint
from transprune.models.clock import FirstToken, clock
from transprune.models.prompt import count_visual
from transprune.session import Session
from transprune.trace import Trace

MAX_NEW_TOKENS = 128
# what sampling is called with; a greedy run is called with none of them
_SAMPLING = ("temperature", "top_p", "top_k")


@dataclass(frozen=True)
class Generation:
    """How answers are generated.

    Attributes:
        max_new_tokens: length limit.
        stop: texts at which an answer is cut.
        beams: beams of a beam search; 1 for none.
        sampling: temperature and the like; empty for greedy answers.
    """

    max_new_tokens: int = MAX_NEW_TOKENS
    stop: tuple[str, ...] = ()
    beams: int = 1
    sampling: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, options: dict[str, Any]) -> Generation:
        """From the options of a task, which may hold anything; what does not count is left out."""
        stop = options.get("until") or ()
        stop = (stop,) if isinstance(stop, str) else tuple(stop)

        # tasks ask for a temperature of 0, or for top_p = 0, and mean greedy answers
        samples = bool(options.get("do_sample")) or float(options.get("temperature") or 0) > 0
        sampling = {}
        for name in _SAMPLING:
            if samples and options.get(name):
                sampling[name] = options[name]
        if samples and not sampling:
            sampling["temperature"] = 1.0

        return cls(
            max_new_tokens=int(options.get("max_new_tokens") or MAX_NEW_TOKENS),
            stop=stop,
            beams=int(options.get("num_beams") or 1),
            sampling=sampling,
        )

    def cut(self, text: str) -> str:
        """The text up to the first of the stops."""
        for stop in filter(None, self.stop):
            text = text.split(stop)[0]
        return text.strip()


@dataclass(frozen=True)
class Answers:
    """The answers of one batch.

    Attributes:
        texts: in the order of the prompts.
        prompt_tokens, new_tokens: of each, without padding.
        visual_tokens: of each prompt, before pruning.
        cut: of each, whether it ended at the length limit.
        first_token: seconds until the first new token of the batch.
        total: seconds of the whole batch.
        trace: what was kept; None unpruned.
    """

    texts: tuple[str, ...]
    prompt_tokens: tuple[int, ...]
    new_tokens: tuple[int, ...]
    visual_tokens: tuple[int, ...]
    cut: tuple[bool, ...]
    first_token: float
    total: float
    trace: Trace | None


def generate_together(
    checkpoint: Checkpoint,
    rows: Sequence[dict[str, Any]],
    session: Session | None,
    generation: Generation,
) -> Answers:
    """The answers to a batch of prompts that all have the same kinds of media.

    Args:
        checkpoint: the model.
        rows: inputs of single prompts, as `prepare` makes them.
        session: prunes while they run; None is the unpruned model. It must not be attached.
        generation: how answers are generated.

    Raises:
        LayoutError: prompt and pictures do not fit each other.
        FamilyError: the model lacks what the method needs.
    """
    inputs = _join(checkpoint, rows)
    device = checkpoint.model.device
    watch = FirstToken(device)

    with ExitStack() as stack:
        if session is not None:
            stack.enter_context(session)
        stack.enter_context(torch.no_grad())
        start = clock(device)
        ids = _generate(checkpoint, inputs, generation, watch)  # [B, L + new]
        total = clock(device) - start

    new = ids[:, inputs["input_ids"].shape[1] :].tolist()
    ends = end_ids(checkpoint.model)
    counts = [_count_new(row, ends) for row in new]
    tokenizer = checkpoint.processor.tokenizer
    texts = [tokenizer.decode(row, skip_special_tokens=True) for row in new]

    return Answers(
        texts=tuple(generation.cut(text) for text in texts),
        prompt_tokens=tuple(inputs["attention_mask"].sum(dim=1).tolist()),
        new_tokens=tuple(counts),
        visual_tokens=tuple(count_visual(checkpoint, row) for row in rows),
        cut=tuple(row[count - 1] not in ends for row, count in zip(new, counts, strict=True)),
        first_token=(total if watch.at is None else watch.at - start),
        total=total,
        trace=None if session is None else session.trace,
    )


def _generate(
    checkpoint: Checkpoint, inputs: dict[str, Any], generation: Generation, watch: FirstToken
) -> Tensor:
    from transformers import StoppingCriteriaList

    # without a reset transformers warns that the checkpoint's own sampling settings are ignored
    sampling: dict[str, Any] = dict.fromkeys(_SAMPLING) | generation.sampling
    return checkpoint.model.generate(
        **inputs,
        max_new_tokens=generation.max_new_tokens,
        do_sample=bool(generation.sampling),
        num_beams=generation.beams,
        stopping_criteria=StoppingCriteriaList([watch]),
        **sampling,
    )


def _join(checkpoint: Checkpoint, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Inputs of single prompts as one batch, padded on the left."""
    if len(rows) == 1:
        return dict(rows[0])

    joined: dict[str, Any] = pad_left(
        [text_inputs(row) for row in rows], padding_id(checkpoint.processor.tokenizer)
    )
    media = [media_inputs(row) for row in rows]
    if media[0]:
        joined |= find_family(checkpoint.model).join_pictures(media)
    return joined


def _count_new(ids: Sequence[int], ends: frozenset[int]) -> int:
    """New tokens of a row, its end included, without the padding behind it."""
    for count, token in enumerate(ids, start=1):
        if token in ends:
            return count
    return len(ids)
