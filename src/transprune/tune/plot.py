"""The trials of a search as one picture: cost against loss with the front, and the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transprune.errors import MissingExtra, TuneError
from transprune.tune.budget import Budget
from transprune.tune.tried import Tried, front

PLOT_FILE = "front.png"
FAINT = "#9aa5b1"
STRONG = "#1f6feb"
LOSS_NAMES = {"kl": "KL to the unpruned answers, nats", "last-token": "1 - cosine, last token"}


def plot_front(trials: Sequence[Tried], budget: Budget, loss: str, file: Path) -> None:
    """Draw all trials and their front.

    Args:
        trials: with their losses; those that were stopped early are crosses.
        budget: its kind of cost names the axis.
        loss: `"kl"` or `"last-token"`.
        file: the picture to write.

    Raises:
        MissingExtra: matplotlib is not installed.
        TuneError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("plots need matplotlib: pip install 'transprune[tune]'") from error

    # no pyplot: it would choose a backend for the whole process
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)

    _draw_costs(left, trials, budget)
    left.set_ylabel(LOSS_NAMES[loss])
    _draw_progress(right, trials)
    try:
        figure.savefig(file, dpi=144)
    except OSError as error:
        raise TuneError(f"cannot write {file}: {error.strerror or error}") from error


def _draw_costs(axes: Any, trials: Sequence[Tried], budget: Budget) -> None:
    """Cost against loss, and the line through the front."""
    scale = 1 if budget.cost == "ms" else 100
    names = {
        "flops": "prefill, exact FLOPs, % of unpruned",
        "kv": "keys and values, % of unpruned bytes",
        "ms": "prefill, ms",
    }

    for stopped, marker, label in ((True, "x", "stopped early"), (False, "o", "complete")):
        chosen = [trial for trial in trials if trial.stopped == stopped]
        if not chosen:
            continue
        costs = [scale * trial.cost for trial in chosen]
        axes.scatter(
            costs, [trial.loss for trial in chosen], s=16, c=FAINT, marker=marker, label=label
        )

    # at one budget only the best setting counts: costs differ by rounding
    best = front(trials)
    if not budget.is_range:
        best = best[-1:]

    costs = [scale * trial.cost for trial in best]
    axes.plot(costs, [trial.loss for trial in best], "o-", c=STRONG, ms=5, label="best")
    axes.set_xlabel(names[budget.cost])
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.legend(frameon=False, fontsize=8)


def _draw_progress(axes: Any, trials: Sequence[Tried]) -> None:
    """The loss of each complete trial, and the least so far."""
    complete = [trial for trial in trials if not trial.stopped]
    numbers = [trial.number for trial in complete]
    values = [trial.loss for trial in complete]
    least = [min(values[: place + 1]) for place in range(len(values))]

    axes.scatter(numbers, values, s=16, c=FAINT)
    axes.step(numbers, least, where="post", c=STRONG)
    axes.set_xlabel("trial")
    axes.set_yscale("symlog", linthresh=1e-3)
