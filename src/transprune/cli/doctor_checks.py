"""The checks of this machine by `transprune doctor`, as JSON-ready data."""

from __future__ import annotations

import platform
import sys
from typing import Any

from transprune.core.library import SUPPORTED as SUPPORTED_TRANSFORMERS

SUPPORTED = {"python": ">=3.10", "torch": ">=2.6", "transformers": SUPPORTED_TRANSFORMERS}


def check_machine() -> dict[str, Any]:
    """Versions, devices, attention implementations, families, and a test of the bundled model."""
    from transformers.utils import is_flash_attn_2_available

    from transprune.families import FAMILIES
    from transprune.families.generic import Generic

    versions = _check_versions()
    torchvision, problem = _try_torchvision()
    supported = all(entry["ok"] for entry in versions.values())
    bundled = _try_bundled()

    families = [(name, FAMILIES.get(name)) for name in FAMILIES]
    attention = ["sdpa", "eager"]  # always there: torch and transformers bring them
    if is_flash_attn_2_available():
        attention.append("flash_attention_2")

    return {
        "ok": supported and bundled == "loads" and not problem,
        "platform": f"{platform.system()} {platform.machine()}",
        "executable": sys.executable,
        "versions": versions,
        "devices": _devices(),
        "attention": attention,
        "torchvision": torchvision,
        "torchvision_problem": problem,
        "families": {name: kind.title for name, kind in families if not issubclass(kind, Generic)},
        "bundled_model": bundled,
    }


def _check_versions() -> dict[str, dict[str, Any]]:
    import torch
    import transformers
    from packaging.specifiers import SpecifierSet

    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }

    versions = {}
    for name, version in found.items():
        release = version.partition("+")[0]  # torch adds its build, as in 2.6.0+cpu
        supported = SpecifierSet(SUPPORTED[name]).contains(release, prereleases=True)
        versions[name] = {"version": version, "supported": SUPPORTED[name], "ok": supported}

    return versions


def _try_torchvision() -> tuple[bool, str]:
    """Whether torchvision can be used, and what is wrong if it is installed and cannot."""
    from importlib import import_module

    import torch

    try:
        import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name == "torchvision":
            return False, ""
        return False, _mismatch(error, torch.__version__)
    # a build for another torch registers operators for kernels that are not there, or lacks a
    # library, and fails in as many ways
    except Exception as error:
        return False, _mismatch(error, torch.__version__)

    return True, ""


def _mismatch(error: Exception, version: str) -> str:
    """What to do about a torchvision that cannot be imported."""
    from transprune.models.source import first_line

    return (
        f"cannot be imported ({first_line(error)}), and transformers fails with it. It belongs to "
        f"another build of torch than {version}: pip uninstall torchvision, or install the one "
        "from the index that this torch came from"
    )


def _devices() -> list[str]:
    import torch

    devices = [f"cpu, {torch.get_num_threads()} threads"]
    for number in range(torch.cuda.device_count()):
        devices.append(f"cuda: {torch.cuda.get_device_name(number)}")
    return devices


def _try_bundled() -> str:
    """`"loads"`, or why the bundled model does not."""
    from transprune.errors import PruneError
    from transprune.models.checkpoint import LoadOptions, load
    from transprune.nano import NANO

    try:
        load(NANO, LoadOptions(dtype="float32", device="cpu"))
    except PruneError as error:
        return f"fails: {error}"

    return "loads"
