"""One batch of answers under one method, with what the session's trace tells about each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from transprune.bench.data.tasks import Item
from transprune.bench.run.prompts import Prompts
from transprune.cost.count import count_cost
from transprune.methods.common.method import Method
from transprune.trace import Trace

PILOT = 32  # questions


@dataclass(frozen=True)
class Given:
    """One answer.

    Attributes:
        text: what the model said.
        method_repr: the method that ran.
        exact_share, paper_share: prefill cost of this prompt relative to unpruned.
        kept: boundary -> numbers of the visual tokens that stayed.
        visual_tokens: before pruning.
        kv_bytes: keys and values of this prompt.
        positions: policy for the survivors' position ids.
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
    prompts: Prompts, items: Sequence[Item], method: Method | None, max_new_tokens: int
) -> list[Given]:
    """Greedy answers to a batch of questions; None is the unpruned model."""
    listens = method is not None and any(step.reads.vision for step in method.steps)
    inputs = prompts.batch(items, encoded=not listens)
    model = prompts.checkpoint.model
    with ExitStack() as stack:
        session = None if method is None else stack.enter_context(prompts.prune(method))
        stack.enter_context(torch.no_grad())
        ids = generate(model, placed(inputs, model), max_new_tokens)
    texts = [_text(prompts, row[inputs["input_ids"].shape[1] :]) for row in ids]
    if session is None:
        return [_unpruned(prompts, item, text) for item, text in zip(items, texts, strict=True)]
    return [_pruned(session.trace, number, text, repr(method)) for number, text in enumerate(texts)]


def measure_share(prompts: Prompts, items: Sequence[Item], method: Method) -> float:
    """Mean `exact` prefill share of a method over a few questions spread over all of them."""
    chosen = items[:: max(1, len(items) // PILOT)][:PILOT]
    return fmean(given.exact_share for given in answer(prompts, chosen, method, max_new_tokens=1))


def generate(model: Any, inputs: dict[str, Any], max_new_tokens: int) -> Any:
    """Greedy `generate`, whatever sampling the checkpoint's own configuration asks for. -> long [B, L + new]."""
    own = {"temperature": None, "top_p": None, "top_k": None}
    return model.generate(
        **inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, **own
    )


def placed(inputs: dict[str, Any], model: Any) -> dict[str, Any]:
    """On the model's device; encoded pictures are there already."""
    return {
        name: value.to(model.device) if hasattr(value, "to") else value
        for name, value in inputs.items()
    }


def _text(prompts: Prompts, ids: Any) -> str:
    return prompts.checkpoint.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()


def _unpruned(prompts: Prompts, item: Item, text: str) -> Given:
    model, counts = prompts.checkpoint.model, prompts.count(item)
    visual = [counts.visual] * prompts.geometry.layers
    bill = count_cost(
        prompts.geometry,
        visual,
        counts.text,
        unpruned=counts.visual,
        convention="exact",
        dtype_bytes=model.dtype.itemsize,
    )
    return Given(text, "unpruned", 1.0, 1.0, {}, counts.visual, bill.kv_bytes, "keep")


def _pruned(trace: Trace, sample: int, text: str, method_repr: str) -> Given:
    exact, paper = trace.sample_cost(sample, "exact"), trace.sample_cost(sample, "paper")
    kept = {stage.boundary: stage.keep[sample].tolist() for stage in trace.stages}
    return Given(
        text=text,
        method_repr=method_repr,
        exact_share=exact.prefill_share,
        paper_share=paper.prefill_share,
        kept=kept,
        visual_tokens=trace.visual_tokens[sample],
        kv_bytes=exact.kv_bytes,
        positions=trace.positions,
    )
