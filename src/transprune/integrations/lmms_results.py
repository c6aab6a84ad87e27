"""Answers and costs as lmms-eval takes them."""

from __future__ import annotations

import os

from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.models.model_utils.gen_metrics import log_metrics

from transprune.integrations.batches import Answers
from transprune.integrations.summary import Summary


def own_device() -> str:
    """The GPU of this process among several; else whatever there is."""
    rank = os.environ.get("LOCAL_RANK")
    import torch

    return f"cuda:{rank}" if rank and torch.cuda.is_available() else "auto"


def result(answers: Answers, place: int) -> GenerationResult:
    """One answer of a batch, with its numbers of tokens."""
    counts = TokenCounts(
        input_tokens=answers.prompt_tokens[place], output_tokens=answers.new_tokens[place]
    )
    return GenerationResult(text=answers.texts[place], token_counts=counts)


def report(summary: Summary) -> None:
    """Hand times and costs to lmms-eval, which writes them into its results."""
    if not summary.prompts:
        return

    log_metrics(
        total_elapsed_time=summary.seconds,
        total_gen_tokens=summary.new_tokens,
        avg_speed=summary.new_tokens / summary.seconds if summary.seconds else 0.0,
        additional_metrics=summary.numbers(),
    )
