"""Run a batch of requests, and hand out each answer as soon as it is whole.

If a batch fails, its requests run again one by one, so that one of them cannot take the others with
it. The session of the batch's method is attached while it runs; there is one thread for all of it.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from typing import Any

import torch

from transprune.errors import FamilyError, ImageError, LayoutError, MethodError
from transprune.models.batching import end_ids
from transprune.models.checkpoint import Checkpoint
from transprune.models.memory import is_out_of_memory
from transprune.serve.batch import Batch
from transprune.serve.decode import Chooser, Watcher
from transprune.serve.inputs import Inputs
from transprune.serve.job import Growing, Job
from transprune.serve.kept import Kept
from transprune.serve.metrics import Metrics
from transprune.serve.prefill import Beginnings
from transprune.serve.refusal import Refusal, failed
from transprune.serve.reuse import Reuse
from transprune.serve.usage import Reused

log = logging.getLogger(__name__)

# mistakes of a request that only show when it runs
OF_THE_REQUEST = (FamilyError, ImageError, LayoutError, MethodError)


class Runner:
    """Runs batches on one model, in one thread.

    Args:
        checkpoint: the model.
        reuse_bytes: bound of what is kept for later requests.
        metrics: where batches are counted.
    """

    def __init__(self, checkpoint: Checkpoint, reuse_bytes: int, metrics: Metrics) -> None:
        self._model = checkpoint.model
        # requests are tokenised in another thread, and a tokenizer serves one thread at a time
        self._tokenizer = copy.deepcopy(checkpoint.processor.tokenizer)
        self._metrics = metrics
        self._ends = end_ids(checkpoint.model)

        reuse = Reuse(reuse_bytes, metrics)
        self._inputs = Inputs(checkpoint, reuse)
        self._beginnings = Beginnings(checkpoint, self._inputs, reuse)
        self._kept = Kept(checkpoint)

    def run(self, jobs: Sequence[Job]) -> None:
        """Answer jobs of one group; every one of them gets its last event."""
        self._metrics.batch.observe(len(jobs))
        self._run([self._start(job) for job in jobs])

    def _start(self, job: Job, sent: str = "") -> Growing:
        return Growing(job, self._tokenizer, self._ends, sent)

    def _run(self, answers: list[Growing]) -> None:
        try:
            self._attempt(answers)
        # whatever it is, the other requests must be answered
        except Exception as error:
            self._recover(answers, error)

        for answer in answers:
            if not answer.job.over:
                log.error("a request was left without an answer")
                answer.job.end(failed())

    def _recover(self, answers: list[Growing], error: Exception) -> None:
        """Run those without an answer again alone; refuse one that failed alone."""
        left = [answer for answer in answers if not answer.job.over]
        if len(answers) == 1:
            for answer in left:
                answer.job.end(_refusal_of(error))
            return

        log.warning("a batch of %d failed (%s); alone now", len(answers), type(error).__name__)
        # what the failed batch held is free for the single ones
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        for answer in left:
            self._metrics.retried.inc()
            if not answer.job.end_if_dead():
                self._run([self._start(answer.job, answer.stream.sent)])

    def _attempt(self, answers: list[Growing]) -> None:
        """Prefill and decode one batch."""
        first = answers[0].job
        start = time.monotonic()
        # without a picture there is nothing to prune
        session = first.recipe.session if first.pictures else None

        with ExitStack() as stack:
            if session is not None:
                stack.enter_context(session)

            stack.enter_context(torch.no_grad())

            batch = self._batch([answer.job for answer in answers])

            def finish(number: int) -> None:
                """Deliver the end of one row while others go on."""
                answer = answers[number]
                usage = batch.usage(answer, number, start)
                wanted = answer.job.wants_kept
                kept = self._kept.of(answer.job, batch.trace(), number) if wanted else None
                answer.finish(usage, kept)

            self._generate(answers, batch.inputs, finish)

    def _batch(self, jobs: Sequence[Job]) -> Batch:
        """The inputs of jobs that run together; one alone may go on from a prefilled beginning."""
        first = jobs[0]
        if len(jobs) == 1 and self._beginnings.fits(first):
            beginning = self._beginnings.of(first)
            if beginning is not None:
                inputs = self._beginnings.go_on(first, beginning)
                reused: Reused = "prefill" if beginning.known else "nothing"
                return Batch(inputs, [reused], lambda: beginning.trace_for(first))

        session = first.recipe.session if first.pictures else None
        joined, known = self._inputs.join(jobs)
        # read once: every reading copies what was kept from the device
        return Batch(joined, known, lru_cache(lambda: None if session is None else session.trace))

    def _generate(
        self, answers: list[Growing], inputs: dict[str, Any], finish: Callable[[int], None]
    ) -> None:
        """Greedy `generate` with our own choice between tokens."""
        from transformers import LogitsProcessorList, StoppingCriteriaList

        watcher = Watcher(answers, inputs["input_ids"].shape[1], finish)
        chooser = Chooser([answer.job.sampling for answer in answers])

        # without a reset transformers warns that settings of the checkpoint are ignored
        unset = {"temperature": None, "top_p": None, "top_k": None}
        self._model.generate(
            **inputs,
            max_new_tokens=max(answer.job.new_tokens for answer in answers),
            do_sample=False,
            num_beams=1,
            logits_processor=LogitsProcessorList([chooser]),
            stopping_criteria=StoppingCriteriaList([watcher]),
            **unset,
        )


def _refusal_of(error: Exception) -> Refusal:
    """What the client of a request that failed alone is told."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, OF_THE_REQUEST):
        return Refusal(str(error), param="messages", code="cannot_run")

    log.error("a request failed", exc_info=error)
    if is_out_of_memory(error):
        return Refusal(
            "there is no memory for this request; send fewer or smaller pictures",
            503,
            "server_error",
            code="out_of_memory",
        )

    return failed()
