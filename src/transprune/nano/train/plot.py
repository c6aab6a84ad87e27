"""The logs of a training run as one picture: a row of panels per stage, loss and accuracies over the steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transprune.errors import MissingExtra, TrainingError


def plot_run(folder: Path, file: Path) -> Path:
    """Draw every `<stage>.jsonl` in `folder` into `file` (PNG); returns it.

    Raises:
        TrainingError: no logs there.
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("plots need matplotlib: pip install 'transprune[report]'") from error
    logs = {
        path.stem: _read(path)
        for path in sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    }
    logs = {name: lines for name, lines in logs.items() if lines}
    if not logs:
        raise TrainingError(f"{folder} holds no logs of a training run (<stage>.jsonl)")
    figure = Figure(figsize=(11, 3.2 * len(logs)), layout="constrained")
    panels = figure.subplots(len(logs), 2, squeeze=False)
    for (name, lines), (left, right) in zip(logs.items(), panels, strict=True):
        steps = [line["step"] for line in lines]
        left.plot(steps, [line["loss"] for line in lines], color="black")
        left.set(
            title=f"{name}: loss ({lines[-1]['seconds'] / 60:.0f} min)", xlabel="step", yscale="log"
        )
        metrics = sorted({key for line in lines for key in line} - {"step", "seconds", "loss"})
        for metric in metrics:
            points = [(line["step"], line[metric]) for line in lines if metric in line]
            right.plot(*zip(*points, strict=True), label=metric)
        right.set(title=f"{name}: accuracy on new scenes", xlabel="step", ylim=(0, 1.02))
        right.legend(fontsize="x-small", ncols=2)
    figure.savefig(file, dpi=110)
    return file


def _read(path: Path) -> list[dict[str, Any]]:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue  # half a line at the end of a killed run
    return [line for line in lines if "loss" in line]
