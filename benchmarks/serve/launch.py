"""Start `transprune serve` as a process of its own, and watch its memory."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass
class Running:
    """A server: its address and its process."""

    address: str
    process: psutil.Process

    @property
    def mebibytes(self) -> float:
        """Resident memory."""
        return float(self.process.memory_info().rss / 2**20)

    @property
    def cpu_seconds(self) -> float:
        """CPU time so far, of all its threads."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    @property
    def chat(self) -> str:
        """Where chat requests go."""
        return f"{self.address}/v1/chat/completions"


@contextmanager
def serving(*options: str) -> Iterator[Running]:
    """A server with these options on a free port of loopback."""
    command = [sys.executable, "-m", "transprune.cli", "serve", "--port", "0", *options]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as file:
            process = subprocess.Popen(command, stderr=file)
        try:
            yield Running(_wait_for_address(log, process), psutil.Process(process.pid))
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            crashed = [line for line in log.read_text().splitlines() if " ERROR " in line]
            if crashed:
                print("errors in the server's log:", *crashed[:5], sep="\n")


def _wait_for_address(log: Path, process: subprocess.Popen[bytes]) -> str:
    while process.poll() is None:
        found = re.search(r"at (http://\S+)/v1", log.read_text())
        if found:
            return found[1]
        time.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")
