"""Write the drawn rows as data sets: parquet files, and a README that lists them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transprune.bench.data.benchmarks import BENCHMARKS, Benchmark
from transprune.bench.data.benchmarks.base import COLLECTION
from transprune.bench.data.benchmarks.parquet import need_parquet
from transprune.reproduce.smoke.films import draw_videos
from transprune.reproduce.smoke.rows import ROWS, Row, gqa_pictures

DONE = "drawn-2"  # a file that is written last; the number changes with what is drawn


def draw_data(folder: Path) -> Path:
    """The drawn data sets of all benchmarks in `folder`, written if they are not there yet.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    need_parquet()
    if (folder / DONE).is_file():
        return folder

    # what a killed call left behind is not complete
    shutil.rmtree(folder, ignore_errors=True)
    for name, rows in ROWS.items():
        benchmark = BENCHMARKS[name]
        tables = {benchmark.config: rows()}
        if benchmark.pictures_config:
            tables[benchmark.pictures_config] = gqa_pictures()
        _write_dataset(folder / benchmark.repositories[-1], benchmark, tables)

    draw_videos(folder / COLLECTION)
    (folder / DONE).write_text("rows about drawn scenes, no benchmark\n", encoding="utf-8")
    return folder


def _write_dataset(place: Path, benchmark: Benchmark, tables: dict[str, list[Row]]) -> None:
    """One file for each configuration, and the README."""
    lines = ["---", "configs:"]
    for config, rows in tables.items():
        folder = "data" if config == "default" else config
        pattern = f"{folder}/{benchmark.split}-*"
        lines += [f"- config_name: {config}", "  data_files:"]
        lines += [f"  - split: {benchmark.split}", f"    path: {pattern}"]
        _write_table(place / folder / f"{benchmark.split}-00000-of-00001.parquet", rows)

    lines += ["---", "", "Rows about drawn scenes in the layout of the benchmark.", ""]
    (place / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _write_table(file: Path, rows: list[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    # real files say in their schema which columns are pictures
    features = {field.name: _feature(field.type) for field in table.schema}
    info = {"info": {"features": features}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(info)})

    # several row groups, as real files have
    pq.write_table(table, file, row_group_size=16)


def _feature(kind: Any) -> Any:
    """A type of arrow as a feature of the library `datasets`."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        if names == ["bytes", "path"]:
            return {"_type": "Image"}
        return {field.name: _feature(field.type) for field in kind}

    return {"dtype": str(kind), "_type": "Value"}
