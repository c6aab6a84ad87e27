"""The options of `transprune reproduce` as one object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transprune.bench.data.judge import Judge
from transprune.models.checkpoint import LoadOptions

BATCH_SIZE = 8
QUESTIONS = 20  # that a table of times measures
SMOKE_QUESTIONS = 4
OWN = "own"
HARNESS = "lmms-eval"
ENGINES = (OWN, HARNESS)


@dataclass(frozen=True)
class ReproducePlan:
    """The options of `transprune reproduce`.

    Attributes:
        exhibit: the table or figure, as `"table1"`.
        out: folder of all runs and results.
        model: `"nano"`, a folder or a hub id; empty for the model of the table.
        data: folder of data sets; None for the hub and its cache.
        smoke: the bundled model and drawn rows.
        limit: at most so many questions of each benchmark; None for all.
        rows, benchmarks: names of those to run; empty for all.
        batch_size: prompts per batch.
        engine: who reads the data, asks and scores: `"own"`, or `"lmms-eval"` with its tasks.
        judge: of free answers; None for exact match.
        loading: dtype, device, attention implementation and text tower.
        command: the command line, for the manifests.
    """

    exhibit: str
    out: Path
    model: str = ""
    data: Path | None = None
    smoke: bool = False
    limit: int | None = None
    rows: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    batch_size: int = BATCH_SIZE
    engine: str = OWN
    judge: Judge | None = None
    loading: LoadOptions = LoadOptions()
    command: str = ""
