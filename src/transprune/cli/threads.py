"""Choose the number of CPU threads before torch is loaded."""

from __future__ import annotations

import os


def use_threads(threads: int | None) -> None:
    """Import torch with `threads` CPU threads (None: one per core) that sleep while they wait."""
    # OpenMP reads these when torch is loaded. By default a waiting thread spins, which makes a
    # machine with other work about ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")

    import torch

    torch.set_num_threads(threads or os.cpu_count() or 1)
