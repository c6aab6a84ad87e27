"""The options of a batch job: what its answers depend on, and how it runs."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transprune.bench.data.work_folder import WorkFolder
from transprune.core import strict_json
from transprune.core.plan import UNPRUNED
from transprune.errors import BatchError
from transprune.methods.common.recipe import resolve
from transprune.models.checkpoint import LoadOptions

SETTINGS_FILE = "batch.json"
SCHEMA = 1
MIB = 2**20


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table, or of the fields of JSON lines."""

    image: str = "image"
    question: str = "question"
    id: str = "id"


@dataclass(frozen=True)
class Bounds:
    """How large a picture may be; one beyond it is an error of its row.

    Attributes:
        file_bytes: of the encoded picture.
        pixels: width x height, read from the header before anything is decoded.
        aspect: the longer side over the shorter one.
    """

    file_bytes: int = 64 * MIB
    pixels: int = 64_000_000
    aspect: float = 50.0


@dataclass(frozen=True)
class Work:
    """What a worker has to know to answer a shard.

    Attributes:
        input: folder, file or address of the rows.
        model: as `load` takes it.
        method: as `resolve` takes it, or `"unpruned"`.
        columns: where a row has its picture.
        loading: how the model is loaded.
        bounds: of pictures.
        max_new_tokens: length limit of an answer.
        batch_size: prompts that run together at most.
        threads: CPU threads of a worker; None leaves torch as it is.
        versions: of everything that could change an answer, as text.
        weights: fingerprint of the model's weights; empty for a hub id.
    """

    input: str
    model: str = "nano"
    method: str = "transprune-high"
    columns: Columns = field(default_factory=Columns)
    loading: LoadOptions = field(default_factory=LoadOptions)
    bounds: Bounds = field(default_factory=Bounds)
    max_new_tokens: int = 64
    batch_size: int = 16
    threads: int | None = None
    versions: str = ""
    weights: str = ""


@dataclass(frozen=True)
class Plan:
    """A whole job.

    Attributes:
        work: what the workers do.
        out: folder of the answers.
        question: asked about every picture; None takes that of each row.
        part_rows: rows of a shard: the window in which batches are sorted, and a file of the output.
        limit: only so many rows of the input, from the start; None for all.
        workers: processes with a model each.
        ray: whether Ray runs them; else there is one, this process.
        ray_address: of a running cluster; None starts one on this machine.
        command: as it was typed, for the record.
    """

    work: Work
    out: Path
    question: str | None = None
    part_rows: int = 256
    limit: int | None = None
    workers: int = 1
    ray: bool = False
    ray_address: str | None = None
    command: str = ""


def recipe_hash(method: str) -> str | None:
    """16 hex digits for the settings of a method; None for the unpruned model.

    Raises:
        MethodError: there is no such method.
    """
    if method == UNPRUNED:
        return None
    text = strict_json.write(resolve(method).to_dict())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def work_folder(out: Path) -> WorkFolder:
    """The folder of a job."""
    return WorkFolder(out, SETTINGS_FILE, "batch job", BatchError)


def describe(plan: Plan) -> dict[str, Any]:
    """What must be equal for a job to be continued. Sizes of batches and shards may change."""
    work = plan.work
    return {
        "schema": SCHEMA,
        "input": work.input,
        "columns": asdict(work.columns),
        "question": plan.question,
        "model": work.model,
        "weights": work.weights,
        "method": work.method,
        "recipe": recipe_hash(work.method),
        "loading": asdict(work.loading),
        "bounds": asdict(work.bounds),
        "max_new_tokens": work.max_new_tokens,
    }
