"""The parts of a recipe's card that have figures: its cost, and what was measured with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transprune.cli.units import mebibytes, percent, scientific

if TYPE_CHECKING:
    from transprune.cost.geometry import Geometry
    from transprune.methods.common.method import Method

TUNED = "tune.json"  # of `transprune tune`, beside the recipe


def cost_section(geometry: Geometry, method: Method) -> str:
    """What stays at each boundary, and the cost in both conventions, on a nominal prompt.

    Raises:
        ScheduleError: the method does not fit the depth of this model.
    """
    from transprune.cost.count import count_method

    visual, text = geometry.visual_tokens, geometry.text_tokens
    paper = count_method(geometry, method, convention="paper")
    exact = count_method(geometry, method, convention="exact")
    stages = [
        (stage.boundary, f"{'at most ' if stage.at_most else ''}{stage.count}")
        for stage in method.plan(geometry.layers, visual)
    ]
    work = "visual work of the prefill (multiply-adds, as most papers count)"
    costs = [
        (work, scientific(paper.prefill), percent(paper.prefill_share)),
        (
            "all work of the prefill (FLOPs)",
            scientific(exact.prefill),
            percent(exact.prefill_share),
        ),
        ("next token (FLOPs)", scientific(exact.decode), percent(exact.decode_share)),
        ("keys and values, 2 bytes a number", mebibytes(exact.kv_bytes), percent(exact.kv_share)),
    ]

    return "\n".join(
        [
            f"## Cost on {geometry.name}\n",
            f"Counted for {visual} visual and {text} text tokens, {geometry.layers} layers.\n",
            _stays(stages, visual),
            _table(("", "", "of the unpruned model"), costs),
        ]
    )


def _stays(stages: Sequence[tuple[int, str]], visual: int) -> str:
    """What stays from each boundary on; a sentence for a method that drops no token."""
    if not stages:
        return f"All {visual} visual tokens stay to the end.\n"
    return _table(("in front of layer", f"of {visual} visual tokens stay"), stages)


def tuned_section(folder: Path) -> list[str]:
    """The held-out figures of the search that made a recipe; nothing where none made it."""
    from transprune.core import strict_json

    file = folder / TUNED
    if not file.is_file():
        return []

    rows = strict_json.read(file.read_bytes())["held_out_figures"]
    cells = [(row["name"], _interval(row["kl"], 4), _interval(row["same"], 1)) for row in rows]

    return [
        "## Found by a search\n\n"
        "`transprune tune`, on questions that the search never saw, 95 % intervals over pictures: "
        "divergence of the first answer tokens from the unpruned model in nats, and answers whose "
        "first tokens all stay the most likely ones in percent.\n\n"
        + _table(("setting", "divergence", "same answers"), cells)
    ]


def measured_section(folder: Path, method: Method) -> str:
    """The accuracy of the recipe in a run of `transprune bench`.

    Raises:
        RecordError: no such run, or it does not have this recipe.
    """
    from transprune.bench.data.records import read_run
    from transprune.bench.results.summary import summarise
    from transprune.errors import RecordError

    run = read_run(folder)
    rows = [row for row in summarise(run) if row.condition.method_repr == repr(method)]
    if not rows:
        raise RecordError(
            f"{folder} has no answers of {method!r}; run transprune bench with this recipe as "
            "--methods and --budgets own, so that it runs as it is"
        )

    settings = run.manifest.settings
    cells = []
    for row in rows:
        relative = row.relative
        accuracy = f"{relative.value:.1f} [{relative.low:.1f}, {relative.high:.1f}]"
        cells.append((accuracy, percent(row.exact_share), percent(row.kv_share), str(row.n)))

    return (
        f"## Measured on {settings.model}\n\n"
        f"`transprune bench`, {settings.tasks}, {settings.dtype}, seed {settings.seed}: accuracy "
        "relative to the unpruned model, 100 is as good, with the 95 % interval over pictures.\n\n"
        + _table(("accuracy", "work of the prefill", "keys and values", "questions"), cells)
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, with an empty line behind it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def _interval(interval: dict[str, float], digits: int) -> str:
    low, high = interval["low"], interval["high"]
    return f"{interval['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
