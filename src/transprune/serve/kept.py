"""What each stage kept of the pictures of a request, and where that lies, for `pruning_trace`.

Which token belongs to which patch differs by family; it is read as `transprune run --overlay` reads
it.
"""

from __future__ import annotations

from typing import Any

from transprune.cost.geometry import Geometry
from transprune.models.checkpoint import Checkpoint
from transprune.report.overlay import Grid, find_grid, stage_panels
from transprune.serve.job import Job
from transprune.trace import Trace


class Kept:
    """Describes what was kept, for one model."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._config = checkpoint.model.config
        self._crops = checkpoint.crops
        self._layers = Geometry.from_config(checkpoint.model.config).layers

    def of(self, job: Job, trace: Trace | None, sample: int) -> dict[str, Any]:
        """JSON-ready: tokens of each layer, and of each picture those that every stage kept.

        Args:
            job: the request.
            trace: of its batch; None where nothing was pruned.
            sample: its number in the batch.
        """
        if trace is None:
            tokens = [job.visual] * self._layers
            return _document(tokens, tokens, 1.0, [], [], [])

        stages = []
        for stage in trace.stages:
            stages.append({"boundary": stage.boundary, "method": stage.method})

        return _document(
            list(trace.tokens_per_layer(sample)),
            list(trace.cached_per_layer(sample)),
            trace.sample_cost(sample).kv_share,
            stages,
            self._pictures(job, trace, sample),
            [*job.recipe.notes, *trace.notes],
        )

    def _pictures(self, job: Job, trace: Trace, sample: int) -> list[dict[str, Any]]:
        """Each picture with its grid and, for every stage, the numbers of its tokens that stayed."""
        clips = trace.frames[sample] if trace.frames else ()
        # tokens of pictures that stand between each other's have no picture of their own
        lengths = [sum(frames) for frames in clips] or [trace.visual_tokens[sample]]

        pictures = []
        first = 0  # index of the picture's first visual token
        for number, tokens in enumerate(lengths):
            grid = None
            if clips:
                grid = find_grid(self._config, job.inputs, number, tokens, cropped=self._crops)
            panels = stage_panels(trace, tokens, first, sample)
            kept = [sorted(panel.keep) for panel in panels]
            pictures.append({"visual_tokens": tokens, **_place(grid), "kept": kept})
            first += tokens

        return pictures


def _document(
    tokens: list[int],
    cached: list[int],
    kv_share: float,
    stages: list[dict[str, Any]],
    pictures: list[dict[str, Any]],
    notes: list[str],
) -> dict[str, Any]:
    return {
        "tokens_per_layer": tokens,
        "cached_per_layer": cached,
        "kv_share": round(kv_share, 6),
        "stages": stages,
        "pictures": pictures,
        "notes": notes,
    }


def _place(grid: Grid | None) -> dict[str, Any]:
    """Rows and columns of a picture's tokens; None where it is not known where they lie."""
    if grid is None:
        return {"rows": None, "columns": None, "cropped": None}
    return {"rows": grid.rows, "columns": grid.columns, "cropped": grid.cropped}
