"""Start several processes of one command, which answer a table together.

The first one has the terminal; the others write to files. When one fails the rest is stopped, and
the same command goes on later with any number of processes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from transprune.errors import BenchError

POLL = 0.5  # seconds between two looks at the processes
PATIENCE = 10.0  # seconds that a process gets to end


def visible_gpus(device: str) -> int:
    """How many GPUs a table may use; 0 on a CPU."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return 0
    return 1 if device.startswith("cuda:") else torch.cuda.device_count()


def run_together(arguments: Sequence[str], count: int, folder: Path) -> None:
    """Run `python ARGUMENTS` in so many processes, and wait for them.

    Args:
        arguments: behind the interpreter, as `("-m", "transprune.cli", ...)`.
        count: how many processes.
        folder: where the output of all but the first is written, `process-1.log` and so on.

    Raises:
        BenchError: one of them failed; its output is named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    processes = []
    try:
        for rank in range(count):
            processes.append(_start(arguments, rank, count, port, folder))
        _wait(processes, folder)
    finally:
        for process in processes:
            _stop(process)


def _start(
    arguments: Sequence[str], rank: int, count: int, port: int, folder: Path
) -> subprocess.Popen[bytes]:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    own = {name: str(value) for name, value in names.items()}
    own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    command = [sys.executable, *arguments]
    environment = {**os.environ, **own}
    if rank == 0:
        return subprocess.Popen(command, env=environment)
    with _log(folder, rank).open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def _wait(processes: Sequence[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait until all have ended well, or one has not."""
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes):
            if code:
                where = f"; its output is in {_log(folder, rank)}" if rank else ""
                raise BenchError(
                    f"process {rank} of {len(processes)} ended with code {code}{where}. Nothing "
                    "that was answered is lost: run the same command again"
                )

        if all(code == 0 for code in codes):
            return

        time.sleep(POLL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return

    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _log(folder: Path, rank: int) -> Path:
    return folder / f"process-{rank}.log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
