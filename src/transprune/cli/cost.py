"""`transprune cost`: what a method costs on a model, counted from the configuration or measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import print_json, show
from transprune.cli.cost_measure import print_break_even
from transprune.cli.cost_paper import print_paper_table
from transprune.cli.cost_tables import document, explanations, table
from transprune.cli.options import (
    MODEL_HELP,
    Device,
    DeviceOption,
    Dtype,
    DtypeOption,
    Json,
    Methods,
    OptionalThreads,
    TextTokens,
    VisualTokens,
)

if TYPE_CHECKING:
    from transprune.cli.cost_tables import Costs
    from transprune.cost.geometry import Geometry

DEFAULT_MODEL = "llava-1.5-7b"
DEFAULT_METHODS = ("transprune-high", "transprune-low", "fastv", "pdrop", "visionzip")

OptionalModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help=f"{MODEL_HELP}; also a known name, or a config.json file. Default: "
        f"{DEFAULT_MODEL}; with --measure: nano.",
    ),
]
DtypeBytes = Annotated[
    int,
    typer.Option(
        "--dtype-bytes", min=1, metavar="N", help="Bytes of one number in the key/value cache."
    ),
]
Paper = Annotated[
    bool,
    typer.Option("--paper", help="Compare with the cost columns of the TransPrune paper."),
]
Measure = Annotated[
    bool,
    typer.Option(
        "--measure",
        help="Measure on this machine instead: from which prompt, batch and answer on a method "
        "saves time.",
    ),
]
BudgetSeconds = Annotated[
    float,
    typer.Option(
        "--budget-seconds", min=1, metavar="N", help="With --measure: how long it may take."
    ),
]


def cost_command(
    model: OptionalModel = None,
    method: Methods = None,
    visual_tokens: VisualTokens = None,
    text_tokens: TextTokens = None,
    dtype_bytes: DtypeBytes = 2,
    paper: Paper = False,
    measure: Measure = False,
    budget_seconds: BudgetSeconds = 60,
    device: DeviceOption = Device.auto,
    dtype: DtypeOption = Dtype.auto,
    threads: OptionalThreads = None,
    as_json: Json = False,
) -> None:
    """Count what methods cost on a model; no weights are needed.

    Prefill, decode and key/value cache, in the two conventions of the field. With --measure the
    model runs, for a minute, to find out where a method saves time here.
    """
    if paper:
        print_paper_table(as_json)
        return

    if measure:
        _refuse_counts(visual_tokens, text_tokens)
        options = (device, dtype, threads)
        print_break_even(model or "nano", method, budget_seconds, options, as_json)
        return

    # token counts of a nominal prompt, unless they are given
    geometry = find_geometry(model or DEFAULT_MODEL)
    visual = geometry.visual_tokens if visual_tokens is None else visual_tokens
    text = geometry.text_tokens if text_tokens is None else text_tokens
    costs = _count(geometry, method or DEFAULT_METHODS, visual, text, dtype_bytes)
    bounded = [name for name in costs if _is_bound(geometry, name, visual)]

    if as_json:
        print_json(document(geometry, visual, text, costs, bounded))
        return

    show(table(geometry, visual, text, costs), "", explanations(dtype_bytes, bounded))


def _refuse_counts(visual_tokens: int | None, text_tokens: int | None) -> None:
    """Raise for token counts beside --measure, whose prompts have whole pictures."""
    for flag, value in (("--visual-tokens", visual_tokens), ("--text-tokens", text_tokens)):
        if value is not None:
            raise typer.BadParameter(
                "with --measure prompts of one, two and three pictures are measured; leave it out",
                param_hint=flag,
            )


def find_geometry(model: str) -> Geometry:
    """The sizes of a model, from `nano`, `smol`, a known name, a folder, a config.json or a hub id.

    Raises:
        UnknownFamily: no such model.
        CheckpointError: `smol`, which was not made yet.
    """
    from transprune.cost.geometry import Geometry, known_geometry
    from transprune.errors import CheckpointError, UnknownFamily
    from transprune.models.source import is_named

    if is_named(model):
        return _read_geometry(model)
    # a folder or file called like a known model wins
    if Path(model).exists():
        return Geometry.from_config(model, name=model)
    try:
        return known_geometry(model)
    except UnknownFamily as unknown:
        # anything else with one slash may be a hub id
        if model.count("/") != 1:
            raise
        try:
            return _read_geometry(model)
        except CheckpointError as error:
            raise UnknownFamily(f"{unknown} As a hub id: {error}") from error


def _read_geometry(model: str) -> Geometry:
    """The sizes in the configuration of a model with a name here, or of a hub id."""
    from transprune.cli.guard import quiet_libraries
    from transprune.cost.geometry import Geometry
    from transprune.models.source import read_config

    with quiet_libraries(bars=False):
        return Geometry.from_config(read_config(model), name=model)


def _is_bound(geometry: Geometry, name: str, visual: int) -> bool:
    """Whether the picture decides how much a method keeps, so that its cost is the most it can be."""
    from transprune.core.plan import per_layer
    from transprune.methods.common.recipe import resolve

    method = resolve(name)
    stages = method.plan(geometry.layers, visual)
    evicted = method.evicts(geometry.layers, per_layer(geometry.layers, visual, stages))
    return any(kept.at_most for kept in (*stages, *evicted))


def _count(geometry: Geometry, methods: Any, visual: int, text: int, dtype_bytes: int) -> Costs:
    """The cost of each method in both conventions."""
    from transprune.cost.count import count_method
    from transprune.methods.common.recipe import resolve

    costs = {}
    for name in methods:
        method = resolve(name)
        paper = count_method(geometry, method, visual, text, "paper", dtype_bytes=dtype_bytes)
        exact = count_method(geometry, method, visual, text, "exact", dtype_bytes=dtype_bytes)
        costs[name] = (paper, exact)

    return costs
