"""The inputs of one batch: texts padded on the left, and pictures as pixels or as known features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transprune.families import find_family
from transprune.models.batching import media_inputs, pad_left, padding_id, text_inputs
from transprune.models.checkpoint import Checkpoint
from transprune.serve.job import Job
from transprune.serve.reuse import Reuse
from transprune.serve.usage import Reused

TOWER = "tower"


class Inputs:
    """Makes the inputs of `generate` for jobs that run together.

    Where the model takes encoded pictures and encodes them one by one (LLaVA-1.5 and its like), the
    features of a picture are kept, and a picture that was seen before does not run the vision tower
    again. Methods that read the tower need it to run, and get pixels.
    """

    def __init__(self, checkpoint: Checkpoint, reuse: Reuse) -> None:
        self._family = find_family(checkpoint.model)
        self._base = self._family.base(checkpoint.model)
        self._reuse = reuse
        self._pad_id = padding_id(checkpoint.processor.tokenizer)

    def join(self, jobs: Sequence[Job]) -> tuple[dict[str, Any], list[Reused]]:
        """Inputs of the batch, and what of each job was known already."""
        texts = [text_inputs(job.inputs) for job in jobs]
        inputs: dict[str, Any] = pad_left(texts, self._pad_id)
        nothing: list[Reused] = ["nothing"] * len(jobs)
        if not jobs[0].pictures:
            return inputs, nothing

        features = self._features(jobs)
        if features is not None:
            rows, reused = features
            return inputs | self._family.encoded_inputs(rows), reused

        pictures = [media_inputs(job.inputs) for job in jobs]
        return inputs | self._family.join_pictures(pictures), nothing

    def _features(self, jobs: Sequence[Job]) -> tuple[list[Tensor], list[Reused]] | None:
        """Features of all pictures in order; None where pixels must be passed."""
        first = jobs[0]
        if not self._reuse.on or not first.reuse or first.recipe.reads_tower:
            return None
        if any(not _one_row_each(job) for job in jobs):
            return None

        known: dict[str, Tensor] = {}
        missing: dict[str, dict[str, Tensor]] = {}
        for job in jobs:
            ((kind, rows),) = media_inputs(job.inputs).items()
            for name, row in zip(job.pictures, rows, strict=True):
                if name not in known and name not in missing:
                    self._look_up(name, {kind: row[None]}, known, missing)

        reused: list[Reused] = []
        for job in jobs:
            seen = not any(name in missing for name in job.pictures)
            reused.append("tower" if seen else "nothing")
        if missing and not self._encode(known, missing):
            return None
        return [known[name] for job in jobs for name in job.pictures], reused

    def _look_up(
        self,
        name: str,
        picture: dict[str, Tensor],
        known: dict[str, Tensor],
        missing: dict[str, dict[str, Tensor]],
    ) -> None:
        found = self._reuse.get((TOWER, name))
        if found is None:
            missing[name] = picture
        else:
            known[name] = found

    def _encode(self, known: dict[str, Tensor], missing: dict[str, dict[str, Tensor]]) -> bool:
        """Run the tower over the missing pictures; False if this family cannot do it apart."""
        with torch.no_grad():
            encoded = self._family.encode_pictures(self._base, list(missing.values()))
        if encoded is None:
            return False

        for name, (rows,) in zip(missing, encoded, strict=True):
            known[name] = rows
            # a slice of a batch's features would keep the whole batch in memory
            self._reuse.put((TOWER, name), rows.clone(), rows.nbytes)

        return True


def _one_row_each(job: Job) -> bool:
    """Whether every picture of a job is one row of pixels, and nothing else describes it."""
    described = list(media_inputs(job.inputs).values())
    return len(described) == 1 and len(described[0]) == len(job.pictures)
