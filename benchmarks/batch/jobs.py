"""Batch jobs as processes of their own, known by a mark in their environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from transprune.nano import scenes

MARK = "TRANSPRUNE_BENCHMARK"
QUESTION = "what color is the circle ?"
WORKER = "MapWorker"  # in the command line of Ray's actor


def draw_pictures(folder: Path, count: int) -> None:
    """So many pictures of the bundled world; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        file = folder / f"{number:06}.png"
        if not file.exists():
            scenes.draw("test", number).image().save(file)


class Job:
    """`transprune batch` on the bundled model.

    Args:
        pictures: folder of the pictures.
        out: folder of the answers.
        rows: how many pictures.
        workers: processes with a model each, of one thread.
        options: further options.
    """

    def __init__(
        self, pictures: Path, out: Path, rows: int, workers: int, options: Sequence[str] = ()
    ) -> None:
        self.out = out
        self.mark = uuid.uuid4().hex
        command = [sys.executable, "-m", "transprune.cli", "batch", "--input", str(pictures)]
        command += ["--output", str(out), "--question", QUESTION, "--limit", str(rows), "--ray"]
        command += ["--workers", str(workers), "--threads", "1", "--max-new-tokens", "8"]
        environment = {**os.environ, MARK: self.mark}
        self.process = subprocess.Popen([*command, *options], env=environment)

    @property
    def parts(self) -> list[Path]:
        """Files that are written, oldest first."""
        files = (self.out / "parts").glob("part-*.parquet")
        return sorted(files, key=lambda file: file.stat().st_mtime_ns)

    @property
    def workers(self) -> dict[int, float]:
        """pid -> MiB in memory of every worker that lives."""
        found = {}
        for pid in self._processes():
            with suppress(OSError):
                if WORKER in Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                    found[pid] = _resident(pid)
        return found

    def wait_for(self, parts: int) -> None:
        """Until so many files are written.

        Raises:
            RuntimeError: the job ended before.
        """
        while len(self.parts) < parts:
            if self.process.poll() is not None:
                raise RuntimeError(f"the job ended with {self.process.returncode}")
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9 of the job and of all that belongs to it."""
        self.process.kill()
        self.process.wait()
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _processes(self) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
