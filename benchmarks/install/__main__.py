"""Install the wheel in an empty environment, alone or with each extra, and let it work there.

    python -m benchmarks.install dist/transprune-0.2.0-py3-none-any.whl             # alone: the demo
    python -m benchmarks.install dist/transprune-0.2.0-py3-none-any.whl --extra all

Every environment is made by `python -m venv`, filled by pip from the registry, without
constraints.txt and without this clone, and deleted again. On Linux pip takes the build of torch for
CUDA, of 5 GB; `--also torch==2.13.0+cpu` a small one, where the registry has it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path

from benchmarks.install.environment import Installed, StepError, check, install

LARGEST = 25 * 2**20  # bytes that the wheel may have
ALL = "all"
ROW = "{:12} {:>9} {:>8} {:>8}  {}"


def extras_of(wheel: Path) -> tuple[str, ...]:
    """The extras that a wheel offers, in its order."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        message = Parser().parsestr(archive.read(metadata).decode("utf-8"))
    return tuple(message.get_all("Provides-Extra", ()))


def try_one(wheel: Path, extra: str, also: Sequence[str], root: Path | None) -> Installed:
    """Install one extra, run its check, and leave nothing behind but what was measured."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        place = Path(folder) / "venv"
        found = install(place, wheel, extra, also)
        check(place, extra)
        return found


def report(wheel: Path, extras: Sequence[str], also: Sequence[str], root: Path | None) -> list[str]:
    """Try all of them and print a row for each as it is done; the names of those that failed."""
    print(ROW.format("extra", "packages", "MiB", "pip, s", ""), flush=True)
    failed = []
    for extra in extras:
        try:
            found = try_one(wheel, extra, also, root)
        except StepError as error:
            failed.append(extra or "alone")
            print(ROW.format(extra or "(alone)", "", "", "", f"FAILED: {error}"), flush=True)
            continue

        note = f"without {', '.join(found.removed)}" if found.removed else ""
        numbers = (found.packages, f"{found.mebibytes:.0f}", f"{found.seconds:.0f}")
        print(ROW.format(extra or "(alone)", *numbers, note), flush=True)
    return failed


def main(words: list[str] | None = None) -> int:
    """The command; 1 if something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.install", description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--extra", action="append", default=[], help=f"repeat, or {ALL!r}")
    parser.add_argument("--also", action="append", default=[], help="for pip, too; repeat")
    parser.add_argument("--at", type=Path, default=None, help="folder for the environments")
    given = parser.parse_args(words)

    size = given.wheel.stat().st_size
    print(f"{given.wheel.name}: {size / 2**20:.1f} MiB\n")
    if size > LARGEST:
        print(f"larger than the {LARGEST / 2**20:.0f} MiB that it may have", file=sys.stderr)
        return 1

    offered = extras_of(given.wheel)
    chosen = offered if ALL in given.extra else tuple(given.extra)
    unknown = sorted(set(chosen) - set(offered))
    if unknown:
        parser.error(f"no extra {', '.join(unknown)}; there are {', '.join(offered)}")

    failed = report(given.wheel.resolve(), chosen or ("",), given.also, given.at)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
