"""A folder of data sets where lmms-eval finds it.

Its tasks name their data sets as the hub does. `datasets` takes a folder of that name in the working
directory before it asks the hub, so the folder is linked there while a task is loaded. It also keeps
a copy of every data set, which it recognises by name alone: a copy made from another folder would be
taken without a word. So each state of a data set has a cache of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from transprune.bench.data.benchmarks import Benchmark
from transprune.bench.data.benchmarks.base import OWNERS

DATA_VARIABLE = "TRANSPRUNE_DATA"  # that the tasks about videos read


@contextmanager
def in_reach(benchmark: Benchmark, data: Path | None, folder: Path) -> Iterator[Path | None]:
    """While the block runs, lmms-eval and `datasets` find the data set of a benchmark in `data`.

    Args:
        benchmark: whose data set.
        data: folder of data sets; None leaves everything to the hub and its cache.
        folder: for links and copies.

    Yields:
        The folder for copies of the data set; None for the usual one.
    """
    if data is None:
        yield None
        return

    import datasets

    place = folder / "data"
    place.mkdir(parents=True, exist_ok=True)
    for owner in OWNERS:
        _link(place / owner, data)

    cache = folder / "cache" / _digest(benchmark, data)
    before = Path.cwd()
    usual = datasets.config.HF_DATASETS_CACHE
    with _environment({DATA_VARIABLE: str(data.absolute())}):
        try:
            # some tasks load further tables past lmms-eval
            datasets.config.HF_DATASETS_CACHE = cache
            os.chdir(place)
            yield cache
        finally:
            os.chdir(before)
            datasets.config.HF_DATASETS_CACHE = usual


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment for the time of a block."""
    known = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in known.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _link(link: Path, data: Path) -> None:
    """Let `link` lead to the data sets of an owner, which may lie in `data` under another name."""
    if link.is_dir() and not link.is_symlink():
        return  # a copy of an earlier run's folder

    places = [data / owner for owner in OWNERS if (data / owner).is_dir()]
    target = (places[0] if places else data).absolute()
    if link.is_symlink() and link.resolve() != target.resolve():
        link.unlink()
    if not link.is_symlink():
        link.symlink_to(target, target_is_directory=True)


def _digest(benchmark: Benchmark, data: Path) -> str:
    """12 hex digits that change with the files of a data set: their names, sizes and times."""
    digest = sha256(str(data.absolute()).encode())
    for owner in (*OWNERS, "."):
        folder = data / owner / benchmark.dataset
        files = sorted(folder.rglob("*.parquet")) if folder.is_dir() else []
        for file in files:
            stat = file.stat()
            digest.update(repr((str(file), stat.st_size, stat.st_mtime_ns)).encode())

    return digest.hexdigest()[:12]
