"""Small runs of a table, and changed copies of drawn data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.benchmarks.files import find_dataset, find_files
from transprune.reproduce.plan import ReproducePlan

# two rows, two benchmarks: answers in seconds
SMALL = {"rows": ("unpruned", "TransPrune-High"), "benchmarks": ("sqa", "pope")}


def small_plan(out: Path, data: Path, **changes) -> ReproducePlan:
    """A plan of the bundled model and drawn rows that takes seconds."""
    settings = {"exhibit": "table1", "out": out, "model": "nano", "data": data, "limit": 4}
    return ReproducePlan(**{**settings, **SMALL, **changes})


def changed(data: Path, target: Path, name: str, change) -> Path:
    """A copy of a data set in `target` whose rows were changed."""
    benchmark = BENCHMARKS[name]
    folder = target / benchmark.repositories[-1]
    shutil.copytree(find_dataset(benchmark, data), folder)
    file = find_files(benchmark, folder, benchmark.config)[0]
    table = pq.read_table(file)
    rows = table.to_pylist()
    change(rows)
    # the schema also says which column is a picture
    fresh = pa.Table.from_pylist(rows)
    pq.write_table(fresh.replace_schema_metadata(table.schema.metadata), file)
    return target
