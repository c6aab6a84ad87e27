"""Where figures of speed come from: card, driver, versions, settings, command."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import torch

from transprune.bench.data.provenance import commit, machine, versions


def describe_run(device: torch.device | str, dtype: torch.dtype, seed: int) -> dict[str, Any]:
    """What stands beside every figure, JSON-ready."""
    place = torch.device(device)
    return {
        "card": card_name(place),
        "driver": driver_version() if place.type == "cuda" else None,
        "versions": {**versions(), "cuda": torch.version.cuda},
        "commit": commit(),
        "dtype": str(dtype).removeprefix("torch."),
        "seed": seed,
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "command": " ".join(sys.argv),
        "time": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
    }


def card_name(device: torch.device) -> str:
    """The name of the GPU, or `CPU` with its processor type."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({machine()['processor']})"


def driver_version() -> str | None:
    """The version of the NVIDIA driver; None where it cannot be read."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.split()
    return lines[0] if lines else None
