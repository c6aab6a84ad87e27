"""Answer one batch of questions with one method, and note what the session's trace measured."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from transprune.bench.data.tasks import Item
from transprune.bench.run.prepared import PreparedQuestions
from transprune.core.plan import UNPRUNED
from transprune.cost.count import unpruned_cost
from transprune.cost.geometry import Geometry
from transprune.methods.common.method import Method
from transprune.models.checkpoint import Checkpoint
from transprune.trace import Trace

PILOT_QUESTIONS = 32  # for measuring the share of a method before a run


@dataclass(frozen=True)
class ModelAnswer:
    """The model's answer to one question, and what it cost.

    Attributes:
        text: the answer.
        method_repr: the method that ran.
        exact_share, paper_share: prefill cost of this prompt relative to unpruned.
        kept: boundary -> indices of the visual tokens that stayed.
        visual_tokens: before pruning.
        kv_bytes: keys and values of this prompt.
        positions: policy for the position ids of the kept tokens.
    """

    text: str
    method_repr: str
    exact_share: float
    paper_share: float
    kept: dict[int, list[int]]
    visual_tokens: int
    kv_bytes: int
    positions: str


def answer(
    questions: PreparedQuestions, items: Sequence[Item], method: Method | None, max_new_tokens: int
) -> list[ModelAnswer]:
    """Greedy answers to a batch of questions; None is the unpruned model."""
    inputs = questions.batch(items, encoded=not reads_tower(method))
    model = questions.checkpoint.model

    with ExitStack() as stack:
        session = None
        if method is not None:
            session = stack.enter_context(questions.prune(method))
        stack.enter_context(torch.no_grad())
        ids = generate(model, to_device(inputs, model), max_new_tokens)  # [B, L + new]

    # `generate` returns the prompt too
    texts = [_decode(questions, row[inputs["input_ids"].shape[1] :]) for row in ids]
    answers = []
    for number, (item, text) in enumerate(zip(items, texts, strict=True)):
        if session is None:
            counts = questions.count(item)
            answers.append(unpruned_answer(questions.checkpoint, text, counts.visual, counts.text))
        else:
            answers.append(pruned_answer(session.trace, number, text, repr(method)))
    return answers


def reads_tower(method: Method | None) -> bool:
    """Whether a method reads the vision tower, so that pictures cannot be encoded beforehand."""
    return method is not None and any(step.reads.vision for step in method.steps)


def measure_share(questions: PreparedQuestions, items: Sequence[Item], method: Method) -> float:
    """Mean `exact` prefill share of a method over a few questions, spread evenly over `items`."""
    stride = max(1, len(items) // PILOT_QUESTIONS)
    chosen = items[::stride][:PILOT_QUESTIONS]

    # the prefill is over when the first new token is there
    answers = answer(questions, chosen, method, max_new_tokens=1)
    return fmean(one.exact_share for one in answers)


def generate(model: Any, inputs: dict[str, Any], max_new_tokens: int) -> Any:
    """Greedy `generate`, without the sampling settings of the checkpoint. -> long [B, L + new]."""
    # without a reset transformers warns that they are ignored
    unset = {"temperature": None, "top_p": None, "top_k": None}
    return model.generate(
        **inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, **unset
    )


def to_device(inputs: dict[str, Any], model: Any) -> dict[str, Any]:
    """The inputs on the model's device; encoded pictures are there already."""
    placed = {}
    for name, value in inputs.items():
        placed[name] = value.to(model.device) if hasattr(value, "to") else value
    return placed


def _decode(questions: PreparedQuestions, ids: Any) -> str:
    tokenizer = questions.checkpoint.processor.tokenizer
    return tokenizer.decode(ids, skip_special_tokens=True).strip()


def unpruned_answer(
    checkpoint: Checkpoint, text: str, visual_tokens: int, text_tokens: int
) -> ModelAnswer:
    """An answer of the unpruned model, and what it cost."""
    # counted, because without a session there is no trace
    geometry = Geometry.from_config(checkpoint.model.config)
    dtype_bytes = checkpoint.model.dtype.itemsize
    cost = unpruned_cost(geometry, visual_tokens, text_tokens, "exact", dtype_bytes)

    return ModelAnswer(
        text=text,
        method_repr=UNPRUNED,
        exact_share=1.0,
        paper_share=1.0,
        kept={},
        visual_tokens=visual_tokens,
        kv_bytes=cost.kv_bytes,
        positions="keep",
    )


def pruned_answer(trace: Trace, sample: int, text: str, method_repr: str) -> ModelAnswer:
    """An answer of a pruned prompt, number `sample` of its batch, and what it cost."""
    exact = trace.sample_cost(sample, "exact")
    paper = trace.sample_cost(sample, "paper")
    kept = {stage.boundary: stage.keep[sample].tolist() for stage in trace.stages}

    return ModelAnswer(
        text=text,
        method_repr=method_repr,
        exact_share=exact.prefill_share,
        paper_share=paper.prefill_share,
        kept=kept,
        visual_tokens=trace.visual_tokens[sample],
        kv_bytes=exact.kv_bytes,
        positions=trace.positions,
    )
