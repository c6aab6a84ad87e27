"""Many pictures, several workers: how fast, in how much memory, and what if something is killed?

    python -m benchmarks.batch scale [--rows 10000]     one worker, then two
    python -m benchmarks.batch faults [--rows 10000]    a worker, then the whole job killed on the way

Needs the `ray` extra. Pictures are drawn once into --folder. The speed is of the answers between the
first file of every worker and the last file, so starting and loading do not count; the memory is of
each worker, when it had written a file and at the end. Workers have one thread each. Two of them can
only be twice as fast where two cores are free: the load average is printed with the figures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq

from .jobs import Job, draw_pictures

PART = 100  # rows of a file


def scale(folder: Path, rows: int, workers: list[int]) -> None:
    """A line for each number of workers, and the quotient of the last and the first."""
    speeds = [_measure(folder, rows, count) for count in workers]
    if len(speeds) > 1:
        print(f"{workers[-1]} workers / {workers[0]}: {speeds[-1] / speeds[0]:.2f}", flush=True)


def _measure(folder: Path, rows: int, workers: int) -> float:
    """Rows a second of a whole job."""
    out = _fresh(folder / f"out-{workers}")
    job = Job(folder / "in", out, rows, workers, ("--part-rows", str(PART)))
    job.wait_for(workers)
    first = max(job.workers.values())
    most = first
    while job.process.poll() is None:
        most = max([most, *job.workers.values()])
        time.sleep(1)

    times = [part.stat().st_mtime for part in job.parts]
    answered = sum(pq.read_metadata(part).num_rows for part in job.parts[workers:])
    speed = answered / (times[-1] - times[workers - 1])
    _check(out, rows)
    print(
        f"{workers} worker(s): {rows} rows, {speed:.1f} a second; memory of the largest worker "
        f"{first:.0f} MiB after its first file, {most:.0f} at most; load average "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
        flush=True,
    )
    return speed


def faults(folder: Path, rows: int) -> None:
    """Kill a worker at a fifth of the files and the job at a half, then let it finish."""
    out = _fresh(folder / "out-faults")
    options = ("--part-rows", str(PART))
    files = -(-rows // PART)

    job = Job(folder / "in", out, rows, 2, options)
    job.wait_for(max(1, files // 5))
    os.kill(next(iter(job.workers)), signal.SIGKILL)
    print(f"kill -9 of a worker after {len(job.parts)} files", flush=True)
    job.wait_for(max(2, files // 2))
    job.kill()

    written = {part: part.stat().st_mtime_ns for part in job.parts}
    print(f"kill -9 of the whole job after {len(written)} files", flush=True)
    again = Job(folder / "in", out, rows, 2, options)
    if again.process.wait() != 0:
        raise SystemExit("the job did not go on")
    redone = sum(part.stat().st_mtime_ns != at for part, at in written.items())
    _check(out, rows)
    print(f"finished: {rows} rows, none missing, none twice; files written again: {redone}")
    if redone:
        raise SystemExit(1)


def _check(out: Path, rows: int) -> None:
    """Every row once, and answered."""
    table = pq.read_table(out / "parts", columns=["id", "error"])
    ids = table.column("id").to_pylist()
    failed = len(table) - table.column("error").null_count
    if sorted(ids) != [f"{number:06}.png" for number in range(rows)] or failed:
        raise SystemExit(f"{len(ids)} rows, {len(set(ids))} different, {failed} failed; not {rows}")


def _fresh(out: Path) -> Path:
    shutil.rmtree(out, ignore_errors=True)
    return out


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("what", choices=("scale", "faults"))
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="of `scale`")
    parser.add_argument("--folder", type=Path, default=Path("out/benchmark-batch"))
    args = parser.parse_args()

    draw_pictures(args.folder / "in", args.rows)
    if args.what == "scale":
        scale(args.folder, args.rows, args.workers)
    else:
        faults(args.folder, args.rows)


if __name__ == "__main__":
    main()
