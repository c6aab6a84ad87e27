"""Find the parquet files of a benchmark's rows: in a folder, or in the cache of the hub.

A data set's README lists its files by configuration and split (`configs` of its header). Where it
does not, files lie in a folder of the configuration's name, or in `data`, and their names begin
with the split.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from transprune.bench.data.benchmarks.base import Benchmark
from transprune.errors import TaskError
from transprune.models.source import first_line


def find_dataset(benchmark: Benchmark, data: Path | None) -> Path:
    """The folder of a benchmark's data set.

    Args:
        benchmark: the benchmark.
        data: folder that holds data sets as `owner/name` or `name`; None for the hub, whose cache
            comes first.

    Raises:
        TaskError: it is not there, or the hub refuses it; what to do is named.
    """
    if data is None:
        return _fetch(benchmark)

    for repository in benchmark.repositories:
        for place in (data / repository, data / repository.split("/")[1]):
            if place.is_dir():
                return place

    usual = benchmark.repositories[-1]
    raise TaskError(
        f"no data: {data} has no folder {' or '.join(benchmark.repositories)}; fetch it with `hf "
        f"download --repo-type dataset {usual} --local-dir {data / usual}`"
    )


def find_files(benchmark: Benchmark, folder: Path, config: str) -> list[Path]:
    """The parquet files of a configuration, in order.

    Raises:
        TaskError: none there, with the configuration and the split that were looked for.
    """
    patterns = _listed(folder, config, benchmark.split) or [
        f"{'data' if config == 'default' else config}/{benchmark.split}-*.parquet"
    ]

    found = []
    for file in sorted(folder.rglob("*.parquet")):
        name = file.relative_to(folder).as_posix()
        if any(fnmatch(name, pattern) for pattern in patterns):
            found.append(file)

    if not found:
        raise TaskError(
            f"no data: {folder} has no file {' or '.join(patterns)}, the rows of configuration "
            f"{config!r}, split {benchmark.split!r}; fetch the data set again"
        )
    return found


def _listed(folder: Path, config: str, split: str) -> list[str]:
    """Patterns of the README for a configuration and split; empty if it lists none."""
    from huggingface_hub import metadata_load

    readme = folder / "README.md"
    header: dict[str, Any] = {}
    if readme.is_file():
        try:
            header = metadata_load(readme) or {}
        # a README of other people; the usual names are tried then
        except Exception:
            return []

    patterns: list[str] = []
    for entry in header.get("configs", []):
        if entry.get("config_name") != config:
            continue
        for part in entry.get("data_files", []):
            if part.get("split") == split:
                paths = part["path"]
                patterns += [paths] if isinstance(paths, str) else paths
    return patterns


def _fetch(benchmark: Benchmark) -> Path:
    """The data set of the hub, from its cache if it is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    repository = benchmark.repositories[-1]
    configs = [benchmark.config, benchmark.pictures_config]
    wanted = ["README.md"]
    for config in filter(None, configs):
        wanted += ["data/*"] if config == "default" else [f"{config}/*"]

    try:
        return Path(snapshot_download(repository, repo_type="dataset", allow_patterns=wanted))
    except GatedRepoError as error:
        raise TaskError(
            f"no access: {repository} is open to those only who asked for it "
            f"({first_line(error)}); ask on its page, then run `hf auth login`"
        ) from error
    # no network, no such repository, no access: their errors have no base in common
    except Exception as error:
        raise TaskError(
            f"no data: {repository} cannot be fetched ({first_line(error)}); fetch it where there "
            "is a network, and give its folder with --data"
        ) from error
