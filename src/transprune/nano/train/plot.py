"""Plot the logs of a training run: one row of panels per stage, loss and accuracies over steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transprune.errors import MissingExtra, TrainingError
from transprune.nano.train.log import read_log


def plot_run(folder: Path, file: Path) -> Path:
    """Draw every `<stage>.jsonl` of a run into a PNG file; return the file.

    Raises:
        TrainingError: the folder has no logs, or the file cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("plots need matplotlib: pip install 'transprune[report]'") from error

    logs = _read_logs(folder)
    if not logs:
        raise TrainingError(f"{folder} has no logs of a training run (<stage>.jsonl)")

    figure = Figure(figsize=(11, 3.2 * len(logs)), layout="constrained")
    panels = figure.subplots(len(logs), 2, squeeze=False)
    for (name, lines), (left, right) in zip(logs.items(), panels, strict=True):
        _draw_loss(left, name, lines)
        _draw_accuracies(right, name, lines)

    try:
        figure.savefig(file, dpi=110)
    # ValueError: a suffix that matplotlib does not know
    except (OSError, ValueError) as error:
        raise TrainingError(f"cannot write {file}: {error}; give another file") from error

    return file


def _read_logs(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The log lines of each stage; stages in the order in which they were trained."""
    files = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    logs = {}

    for path in files:
        lines = [line for line in read_log(path) if {"loss", "seconds"} <= line.keys()]
        if lines:
            logs[path.stem] = lines

    return logs


def _draw_loss(panel: Any, name: str, lines: list[dict[str, Any]]) -> None:
    steps = [line["step"] for line in lines]
    losses = [line["loss"] for line in lines]
    minutes = lines[-1]["seconds"] / 60

    panel.plot(steps, losses, color="black")
    panel.set(title=f"{name}: loss ({minutes:.0f} min)", xlabel="step", yscale="log")


def _draw_accuracies(panel: Any, name: str, lines: list[dict[str, Any]]) -> None:
    names = {key for line in lines for key in line}

    for metric in sorted(names - {"step", "seconds", "loss"}):
        # a category that no step of a line had is missing from that line
        measured = [line for line in lines if metric in line]
        steps = [line["step"] for line in measured]
        values = [line[metric] for line in measured]
        panel.plot(steps, values, label=metric)

    panel.set(title=f"{name}: accuracy on new scenes", xlabel="step", ylim=(0, 1.02))
    # an empty legend is a warning
    if names > {"step", "seconds", "loss"}:
        panel.legend(fontsize="x-small", ncols=2)
