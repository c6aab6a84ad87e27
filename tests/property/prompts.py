"""Prompts, methods and calls drawn by hypothesis, for the tiny models of `families.cases`.

A draw is a handful of numbers; what is made of them fits the model, so nearly every example runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

from families.cases import FAMILIES, IMAGE, PAD, Sample
from transprune import DivPrune, FastV, PDrop, Random, TransPrune, Uniform, VisionZip, prune
from transprune.methods import PACT, CDPruner, Method, ShortV, SparseVLM, VScan

NAMES = st.sampled_from(list(FAMILIES))
ATTENTION = st.sampled_from(["eager", "sdpa"])

# of every path through the runtime one; CDPruner without a text tower, which not all models have
METHODS: tuple[Method, ...] = (
    FastV(layer=2, keep_ratio=0.4),
    PDrop({1: 0.8, 4: 0.3}),
    TransPrune({2: 0.7, 5: 0.3}),
    SparseVLM({2: 0.6, 5: 0.3}),
    PACT(layer=3),
    ShortV((1, 4, 6)),
    Random({0: 0.7, 3: 0.2}),
    DivPrune(0.4),
    CDPruner(0.4, relevance="embedding"),
    VisionZip(0.5),
    VScan(0.6, {3: 0.5}),
)
KEEP_ALL: tuple[Method, ...] = (
    FastV(layer=2, keep_ratio=1.0),
    TransPrune({2: 1.0, 4: 1.0}),
    SparseVLM({2: 1.0}),
    Uniform({3: 1.0}),
    DivPrune(1.0),
    VisionZip(10_000),
    ShortV(()),
)


def often(examples: int) -> settings:
    """The same examples in every run, as many as a second or two allow."""
    # models and folders are made once and shared by all examples, on purpose
    unfit = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=unfit,
    )


@dataclass(frozen=True)
class Batch:
    """Prompts of one family and where their padding is: `left[b]` columns of it in front."""

    name: str
    samples: tuple[Sample, ...]
    left: tuple[int, ...]
    width: int

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """One line in a failing example, without the pixels."""
        parts = [(sample.ids, [image.tokens for image in sample.images]) for sample in self.samples]
        printer.text(f"Batch({self.name!r}, {parts}, left={self.left}, width={self.width})")

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Model inputs; ids and mask [B, width]."""
        inputs = FAMILIES[self.name].batch(self.samples)
        ids = torch.full((len(self.samples), self.width), PAD)
        for row, (sample, start) in enumerate(zip(self.samples, self.left, strict=True)):
            ids[row, start : start + len(sample.ids)] = torch.tensor(sample.ids)

        inputs |= {"input_ids": ids, "attention_mask": (ids != PAD).long()}
        if "mm_token_type_ids" in inputs:
            inputs["mm_token_type_ids"] = (ids == IMAGE).int()
        return inputs

    def real(self, row: int) -> slice:
        """Columns of the tokens of one sample."""
        return slice(self.left[row], self.left[row] + len(self.samples[row].ids))

    def single(self, row: int) -> dict[str, Tensor]:
        """Inputs of one sample by itself."""
        return FAMILIES[self.name].batch([self.samples[row]])


@st.composite
def samples(draw: Any, name: str, least: int = 0) -> Sample:
    """Words and up to three pictures; any gap between pictures may be empty."""
    # none twice: which of two equal tokens stays is left to rounding
    pictures = draw(st.lists(st.integers(0, 2), min_size=least, max_size=3, unique=True))
    gaps = draw(st.lists(st.integers(0, 5), min_size=len(pictures) + 1, max_size=len(pictures) + 1))
    gaps[0] += 1  # Llama-like models always begin with a word, which is also who attends to nothing
    return FAMILIES[name].sample(pictures, gaps, seed=draw(st.integers(0, 99)))


@st.composite
def batches(draw: Any, most: int = 3) -> Batch:
    """One to three prompts, the first with a picture, padded on the left, the right or both."""
    name = draw(NAMES)
    chosen = [draw(samples(name, least=1))]
    for _ in range(draw(st.integers(0, most - 1))):
        chosen.append(draw(samples(name)))

    width = max(len(sample.ids) for sample in chosen) + draw(st.integers(0, 3))
    left = [draw(st.integers(0, width - len(sample.ids))) for sample in chosen]
    return Batch(name, tuple(chosen), tuple(left), width)


def kept(model: Any, method: Method, inputs: Any, **options: Any) -> tuple[list, Tensor]:
    """Per stage and sample the tokens that stayed, and the logits [B, L, V]."""
    with torch.no_grad(), prune(model, method, **options) as session:
        logits = model(**inputs).logits
    return [[keep.tolist() for keep in stage.keep] for stage in session.trace.stages], logits


def tensors(output: Any) -> list[Tensor]:
    """All tensors of a model's output, caches left out."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = tuple(output.values())
    if not isinstance(output, list | tuple):
        return []
    return [tensor for part in output for tensor in tensors(part)]


def same(first: Any, second: Any) -> bool:
    """Whether two outputs hold the same bits."""
    pairs = list(zip(tensors(first), tensors(second), strict=True))
    return bool(pairs) and all(torch.equal(a, b) for a, b in pairs)
