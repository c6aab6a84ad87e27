"""Peak memory and time of `transprune run --tiles`, each run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from .pictures import draw_large

CASES = ((2000, "tif"), (8000, "tif"), (8000, "png"), (8000, "jpg"))


def measure_memory() -> None:
    """Print the peak memory of runs about one picture in several sizes and formats."""
    scene = draw_large("choose", 0, 16)
    question = scene.questions[0].text
    whole = Image.fromarray(scene.pixels)

    print(f"{'picture':18s} {'decoded, MiB':>13s} {'peak, MiB':>10s} {'search, s':>10s}")
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.png"
        whole.resize((96, 96)).save(small)
        _report("96, plain run", 96, _run(small, question, tiles=False))

        for side, kind in CASES:
            scaled = whole if side == whole.width else whole.resize((side, side))
            file = Path(folder) / f"large.{kind}"
            scaled.save(file)
            _report(f"{side}, {kind}", side, _run(file, question, tiles=True))


def _run(file: Path, question: str, *, tiles: bool) -> dict[str, float]:
    """The peak bytes of a run, and the seconds of its search."""
    words = ["run", "--model", "nano", "--image", str(file), "--question", question, "--json"]
    words += ["--tiles", "auto"] if tiles else []
    command = [sys.executable, "-m", "transprune.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    data = json.loads(done.stdout)
    search = data["tiles"] or {"seconds": 0.0}
    return {"peak": data["peak_bytes"], "seconds": search["seconds"]}


def _report(name: str, side: int, measured: dict[str, float]) -> None:
    decoded = side * side * 4 / 2**20  # Pillow keeps four bytes per pixel of colour
    print(
        f"{name:18s} {decoded:13.0f} {measured['peak'] / 2**20:10.0f} {measured['seconds']:10.2f}"
    )
