"""Sampling, beams and drafts: several sequences of a prompt, or several tokens at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from families.case import Sample
from families.cases import greedy
from families.contract import Beside, apart, forced
from families.modes.common import MIDDLE, alone, mode
from reference import Forced
from transprune import prune

# `generate` of these classes repeats the pictures of a prompt one by one (A, A, B, B) for several sequences, pruned
# or not; so prompts of two pictures have no right answer there
MIXES_IMAGES = ("glm4v", "glm4v_moe", "glm46v", "glm_ocr")


def expanding(beside: Beside) -> tuple[list[Sample], Forced, list[Any], dict[str, Tensor]]:
    """A batch of which `generate` runs several sequences per prompt."""
    samples = beside.case.ragged()
    if beside.name in MIXES_IMAGES:
        samples = [beside.case.sample([0], [3, 6]), samples[1]]
    method, told = forced(samples, MIDDLE)
    return samples, method, told, beside.batch(samples)


@mode("sampling")
def sampling(beside: Beside) -> None:
    samples, method, told, inputs = expanding(beside)
    torch.manual_seed(0)
    options = {"do_sample": True, "temperature": 3.0, "num_return_sequences": 2}
    with prune(beside.model, method):
        run = greedy(beside.model, inputs, **options)
    assert not torch.equal(run.sequences[0], run.sequences[1])
    twice = [number for number in range(len(samples)) for _ in range(2)]
    beside.check([samples[n] for n in twice], run, [told[n] for n in twice])


@mode("beams")
def beams(beside: Beside) -> None:
    samples, method, told, inputs = expanding(beside)
    with prune(beside.model, method):
        run = greedy(beside.model, inputs, steps=5, num_beams=3, output_scores=True)
    for row, sample in enumerate(samples):
        new = run.sequences[row, -5:]
        expected = beside.expected(sample, extra=new[:-1], **told[row])[-5:]
        chosen = expected.log_softmax(dim=-1).gather(1, new[:, None])
        beside.near(apart(run.sequences_scores[row], chosen.sum() / 5), samples)


def check_drafts(beside: Beside, **options: Any) -> None:
    """Whatever is drafted, the answer is the greedy one."""
    sample, method, told, inputs = alone(beside)
    with prune(beside.model, method):
        plain = greedy(beside.model, inputs, steps=12)
        drafted = greedy(beside.model, inputs, steps=12, **options)
    assert torch.equal(plain.sequences, drafted.sequences)
    beside.check([sample], drafted, [told])


@mode("assisted")
def assisted(beside: Beside) -> None:
    assistant = beside.zoo.fresh(beside.name)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        weight = assistant.get_output_embeddings().weight
        weight += 0.3 * torch.randn(weight.shape, generator=generator)
    assistant.generation_config.assistant_confidence_threshold = 0.0  # draft on, however unsure
    check_drafts(beside, assistant_model=assistant)


@mode("prompt lookup")
def prompt_lookup(beside: Beside) -> None:
    check_drafts(beside, prompt_lookup_num_tokens=3)
