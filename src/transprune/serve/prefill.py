"""Prefilled prompts kept for later questions about the same pictures.

A prompt begins the same for every question about a picture: with what stands in front of it, and the
picture itself. Where the method does not read the question, the tokens it keeps do not depend on it
either, so this beginning is prefilled once and each question goes on from a copy.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from transprune.core.library import cache_argument, cache_of_output
from transprune.families import Family, find_family
from transprune.models.batching import media_inputs, text_inputs
from transprune.models.checkpoint import Checkpoint
from transprune.serve.inputs import Inputs
from transprune.serve.job import Job
from transprune.serve.reuse import Reuse
from transprune.trace import Trace

log = logging.getLogger(__name__)

PREFILL = "prefill"

TEXT = {"input_ids", "attention_mask"}


@dataclass(frozen=True)
class Beginning:
    """A prefilled beginning.

    Attributes:
        cache: its keys and values; every question goes on from a copy.
        trace: what was kept; None without a method.
        known: an earlier request had prefilled it.
    """

    cache: Any
    trace: Trace | None
    known: bool

    def trace_for(self, job: Job) -> Trace | None:
        """What was kept, with the tokens of the job's whole prompt."""
        if self.trace is None:
            return None
        text = job.length - job.visual
        before = self.trace.text_tokens[0] - self.trace.instruction_tokens[0]
        return replace(self.trace, text_tokens=(text,), instruction_tokens=(text - before,))


class Beginnings:
    """Finds and makes the beginnings of prompts."""

    def __init__(self, checkpoint: Checkpoint, inputs: Inputs, reuse: Reuse) -> None:
        self._model = checkpoint.model
        self._family = find_family(checkpoint.model)
        self._base = self._family.base(checkpoint.model)
        self._inputs = inputs
        self._reuse = reuse
        # families whose pictures are nothing but pixels, which the tests cover; see `Inputs`
        pixels_only = type(self._family).encode_pictures is not Family.encode_pictures
        self._possible = reuse.on and pixels_only and not self._family.mrope

    def fits(self, job: Job) -> bool:
        """Whether this job may go on from a prefilled beginning."""
        if not self._possible or not job.reuse or not job.pictures:
            return False

        # with other inputs, positions may depend on more than the number of tokens
        plain = set(text_inputs(job.inputs)) == TEXT and len(media_inputs(job.inputs)) == 1
        if not plain or job.recipe.reads_question:
            return False
        # the question needs a token of its own
        return self._end(job) < job.length

    def of(self, job: Job) -> Beginning | None:
        """The beginning of a job's prompt, whose session is attached; None if there can be none."""
        end = self._end(job)
        key = self._key(job, end)
        found: Beginning | None = self._reuse.get(key)
        if found is not None:
            return replace(found, known=True)

        # pruning never drops a prompt's last row, which must therefore not be a visual one: the
        # first token of the question runs along, and is taken out again
        inputs, _ = self._inputs.join([job])
        for name in TEXT:
            inputs[name] = inputs[name][:, : end + 1]

        cache = cache_of_output(self._model(**inputs, use_cache=True, logits_to_keep=1))
        try:
            cache.crop(-1)
        # caches of other kinds (recurrent states) cannot give a token back
        except Exception as error:
            log.warning("prefilled prompts are not used again: %s", error)
            self._possible = False
            return None

        session = job.recipe.session
        made = Beginning(cache, None if session is None else session.trace, known=False)
        self._reuse.put(key, made, _bytes(cache))
        return made

    def go_on(self, job: Job, beginning: Beginning) -> dict[str, Any]:
        """Inputs of `generate` that go on from it."""
        cache = copy.deepcopy(beginning.cache)
        texts = text_inputs(job.inputs)
        return {**texts, **cache_argument(self._model, cache)}

    def _end(self, job: Job) -> int:
        """Slots of the beginning: all up to the last visual token."""
        visual = self._family.visual_mask(self._base, job.inputs["input_ids"])[0]  # bool [L]
        return int(visual.nonzero()[-1]) + 1

    def _key(self, job: Job, end: int) -> tuple[Hashable, ...]:
        ids = tuple(job.inputs["input_ids"][0, :end].tolist())
        return (PREFILL, job.recipe.key, job.pictures, ids)


def _bytes(cache: Any) -> int:
    """Bytes of the tensors in a cache."""
    total = 0
    for layer in cache.layers:
        for value in vars(layer).values():
            total += value.nbytes if isinstance(value, Tensor) else 0
    return total
