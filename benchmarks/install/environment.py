"""One empty environment: made, filled by pip, measured and asked to work."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKS = Path(__file__).parent / "checks"
LIMIT = 1800  # seconds that a step may take
MIB = 2**20

# torchvision that a registry offers often does not fit a CPU build of torch, and transformers fails
# with one that does not; nothing here needs it
UNWANTED = ("torchvision",)


class StepError(Exception):
    """A step failed; the text is the end of what it printed."""


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and one extra.

    Attributes:
        extra: its name; empty for the wheel alone.
        packages: how many distributions it has, pip left out.
        mebibytes: of its site-packages.
        seconds: that pip took, downloads included.
        removed: packages that were taken out again (`UNWANTED`).
    """

    extra: str
    packages: int
    mebibytes: float
    seconds: float
    removed: tuple[str, ...]


def install(folder: Path, wheel: Path, extra: str, also: Sequence[str] = ()) -> Installed:
    """A new environment in `folder` with the wheel and one extra.

    Args:
        folder: is made anew.
        wheel: the file.
        extra: name of the extra; empty for none.
        also: further requirements for pip, as `torch==2.13.0+cpu`; by default nothing is pinned.

    Raises:
        StepError: pip fails, or what it installed does not fit together.
    """
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)

    start = time.perf_counter()
    pip(folder, "install", "--quiet", wanted, *also)
    seconds = time.perf_counter() - start

    removed = tuple(name for name in UNWANTED if name in names(folder))
    if removed:
        pip(folder, "uninstall", "--quiet", "--yes", *removed)
    else:
        pip(folder, "check")  # packages that need a removed one would be reported
    size = sum(file.stat().st_size for file in packages(folder).rglob("*") if file.is_file())
    return Installed(extra, len(names(folder)) - 1, size / MIB, seconds, removed)


def check(folder: Path, extra: str) -> None:
    """Run the check of an extra in an empty folder; without one of its own, `transprune doctor`.

    Raises:
        StepError: it fails.
    """
    work = folder / "empty"
    work.mkdir()
    # not by the bare name of the extra: Python finds modules beside a script first
    script = CHECKS / (f"with_{extra}.py" if extra else "alone.py")
    if script.is_file():
        step([folder / "bin" / "python", "-W", "ignore", script], work)
    else:
        step([folder / "bin" / "transprune", "doctor", "--json"], work)


def pip(folder: Path, *arguments: str) -> str:
    """Call the pip of an environment."""
    return step([folder / "bin" / "python", "-m", "pip", *arguments], folder)


def names(folder: Path) -> set[str]:
    """The distributions in an environment."""
    listed = pip(folder, "list", "--format", "freeze")
    return {line.partition("==")[0].lower() for line in listed.splitlines() if "==" in line}


def packages(folder: Path) -> Path:
    """Its site-packages."""
    (found,) = folder.glob("lib/python*/site-packages")
    return found


def step(command: list[str | Path], place: Path) -> str:
    """Run a command without the search path of this clone and without a hub; what it printed.

    Raises:
        StepError: it ends with another status than 0, or takes too long.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # the commands of the environment come first, as where it was activated
    kept["PATH"] = os.pathsep.join([str(Path(command[0]).parent), kept.get("PATH", "")])
    kept |= {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    try:
        done = subprocess.run(
            command, cwd=place, env=kept, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired as error:
        raise StepError(f"{command[-1]} took more than {LIMIT} s") from error

    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise StepError(f"{' '.join(map(str, command[1:]))} failed:\n{said[-3000:]}")
    return done.stdout
