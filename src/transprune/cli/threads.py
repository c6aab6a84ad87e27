"""Choose the number of CPU threads before torch is loaded."""

from __future__ import annotations

import os

import typer

MOST = 1024  # of OpenMP; far beyond it a process dies without a word


def use_threads(threads: int | None) -> None:
    """Import torch with `threads` CPU threads (None: one per core) that sleep while they wait.

    Raises:
        BadParameter: more threads than any machine runs.
    """
    if threads is not None and threads > MOST:
        raise typer.BadParameter(f"at most {MOST} threads; got {threads}", param_hint="--threads")

    # OpenMP reads these when torch is loaded. By default a waiting thread spins, which makes a
    # machine with other work about ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")

    import torch

    torch.set_num_threads(threads or os.cpu_count() or 1)
