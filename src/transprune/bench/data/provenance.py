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

from transprune import __version__
from transprune.models.source import locate

PACKAGES = ("torch", "transformers", "numpy", "pillow")
CHUNK_BYTES = 1 << 24  # 16 MiB: weight files may be larger than the memory


def versions() -> dict[str, str]:
    """Versions of everything that could change an answer."""
    found = {"transprune": __version__}
    for name in PACKAGES:
        found[name] = version(name)
    found["python"] = sys.version.split()[0]
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, and the threads torch may use."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def commit() -> str | None:
    """Revision of the checkout this code runs from, with a `+` if files were changed; else None."""
    try:
        # an installed copy may lie inside a checkout of another project
        if not _git("ls-files", Path(__file__).name):
            return None

        revision = _git("rev-parse", "--short=12", "HEAD")
        changes = _git("status", "--porcelain", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return None

    return revision + "+" if changes else revision


def _git(*words: str) -> str:
    """Output of a git command in the folder of this file."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def fingerprint(model: str) -> str:
    """Fingerprint of a model's weight files, 16 hex digits; empty if it is not in a local folder.

    Raises:
        CheckpointError: it looks like a path, and nothing is there.
    """
    folder = Path(locate(model))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return ""

    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(CHUNK_BYTES):
                digest.update(block)
    return digest.hexdigest()[:16]
