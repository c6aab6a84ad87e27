"""Where figures come from: versions, revision, machine, and a fingerprint of the weights."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from transprune.models.source import locate

PACKAGES = ("torch", "transformers", "numpy", "pillow")
BLOCK = 1 << 24


def versions() -> dict[str, str]:
    """Of everything that could change an answer."""
    from transprune import __version__

    return {
        "transprune": __version__,
        **{name: version(name) for name in PACKAGES},
        "python": sys.version.split()[0],
    }


def machine() -> dict[str, Any]:
    """Processor, cores, and the threads torch may use."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def commit() -> str | None:
    """Revision of the checkout this code runs from, with a `+` where files were changed; None elsewhere."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True
        ).stdout

    try:
        if not git(
            "ls-files", Path(__file__).name
        ).strip():  # installed inside somebody else's checkout
            return None
        return git("rev-parse", "--short=12", "HEAD").strip() + (
            "+" if git("status", "--porcelain", "-uno") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def fingerprint(model: str) -> str:
    """Of the weight files of a model in a folder here, 16 hex digits; empty for one that is not in a folder.

    Raises:
        CheckpointError: it looks like a path, and nothing is there.
    """
    folder = Path(locate(model))
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()[:16] if files else ""
