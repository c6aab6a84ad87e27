"""`transprune cost`: the bill of a method on a model, from its configuration alone; and the paper's own tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import (
    Json,
    legend,
    mebibytes,
    new_table,
    print_json,
    scientific,
    show,
    with_share,
)

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.cost.count import Cost
    from transprune.cost.geometry import Geometry

DEFAULT_METHODS = ("transprune-high", "transprune-low", "fastv", "pdrop", "visionzip")
MARKS = {
    "matches": "[green]✓ matches[/]",
    "differs": "[bold red]✗ differs[/]",
    "not computable": "· unknown",
}


def cost_command(
    model: Annotated[
        str, typer.Option("--model", help="Model by name, folder or config.json, or 'nano'.")
    ] = "llava-1.5-7b",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Preset or recipe text; repeat for several."),
    ] = None,
    visual_tokens: Annotated[
        int | None, typer.Option("--visual-tokens", min=1, help="Visual tokens of the prompt.")
    ] = None,
    text_tokens: Annotated[
        int | None, typer.Option("--text-tokens", min=0, help="All other prompt tokens.")
    ] = None,
    dtype_bytes: Annotated[
        int, typer.Option("--dtype-bytes", min=1, help="Bytes of one K/V number.")
    ] = 2,
    paper: Annotated[
        bool, typer.Option("--paper", help="The seed paper's cost columns beside ours.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count prefill, decode and K/V of methods on a model, in both conventions; no weights are needed."""
    if paper:
        _paper(as_json)
        return
    from transprune.cost.count import count_method
    from transprune.methods.common.recipe import resolve

    sizes = find_geometry(model)
    visual = sizes.visual_tokens if visual_tokens is None else visual_tokens
    text = sizes.text_tokens if text_tokens is None else text_tokens
    bills: dict[str, tuple[Cost, Cost]] = {}
    for name in method or DEFAULT_METHODS:
        chosen = resolve(name)
        paper_bill = count_method(sizes, chosen, visual, text, "paper", dtype_bytes=dtype_bytes)
        exact_bill = count_method(sizes, chosen, visual, text, "exact", dtype_bytes=dtype_bytes)
        bills[name] = (paper_bill, exact_bill)
    if as_json:
        print_json(_document(sizes, visual, text, bills))
        return
    entries = {
        "paper": "prefill, visual tokens only, multiply-adds, no scoring, as most tables in the field count",
        "exact": "prefill, all tokens, FLOPs, grouped-query attention, LM head and scoring included",
        "score": "the part of exact that choosing the tokens costs",
        "decode": "the first new token (exact)",
        "K/V": f"all prompt tokens at {dtype_bytes} bytes a number",
    }
    show(_summary(sizes, visual, text, bills), "", legend(entries))


def find_geometry(model: str) -> Geometry:
    """The sizes of a model by name, folder, config.json, hub id, or `nano`."""
    from transprune.cost.geometry import Geometry, known_geometry
    from transprune.errors import CheckpointError, UnknownFamily

    if model != "nano" and Path(model).exists():
        return Geometry.from_config(model, name=model)
    try:
        return known_geometry(model)
    except UnknownFamily as unknown:
        if model != "nano" and model.count("/") != 1:
            raise
        from transprune.cli.guard import quiet_libraries
        from transprune.models.source import read_config

        with quiet_libraries(bars=False):
            try:
                return Geometry.from_config(read_config(model), name=model)
            except CheckpointError as error:
                raise UnknownFamily(f"{unknown} As a hub id: {error}") from error


def _summary(sizes: Geometry, visual: int, text: int, bills: dict[str, tuple[Cost, Cost]]) -> Table:
    columns = ("method", "paper", "exact", "score", "decode", "K/V")
    title = f"{sizes.name}: {sizes.layers} layers, {visual} visual + {text} text tokens"
    table = new_table(title, columns, wrap=("method",))
    full, full_exact = next(iter(bills.values()))
    table.add_row(
        "unpruned",
        with_share(scientific(full.full_prefill), 1),
        with_share(scientific(full_exact.full_prefill), 1),
        "-",
        with_share(scientific(full_exact.full_decode), 1, 0),
        with_share(mebibytes(full_exact.full_kv_bytes), 1),
    )
    for name, (paper, exact) in bills.items():
        table.add_row(
            name,
            with_share(scientific(paper.prefill), paper.prefill_share),
            with_share(scientific(exact.prefill), exact.prefill_share),
            scientific(exact.scoring) if exact.scoring else "-",
            with_share(scientific(exact.decode), exact.decode_share, 0),
            with_share(mebibytes(exact.kv_bytes), exact.kv_share),
        )
    return table


def _document(
    sizes: Geometry, visual: int, text: int, bills: dict[str, tuple[Cost, Cost]]
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "model": asdict(sizes),
        "visual_tokens": visual,
        "text_tokens": text,
        "methods": {
            name: {"paper": paper.to_dict(), "exact": exact.to_dict()}
            for name, (paper, exact) in bills.items()
        },
    }


def _paper(as_json: bool) -> None:
    from transprune.cost.paper import paper_table

    rows = paper_table()
    if as_json:
        from dataclasses import asdict

        print_json({"rows": [asdict(row) for row in rows]})
        return
    columns = ("table", "method", "tokens", "paper", "ours", "verdict")
    notes: dict[str, int] = {}
    table = new_table(
        "TransPrune (arXiv 2507.20630), cost columns", columns, left=("table", "method", "verdict")
    )
    previous = None
    for row in rows:
        if previous not in (None, (row.table, row.model)):
            table.add_section()
        previous = (row.table, row.model)
        note = f" [{notes.setdefault(row.note, len(notes) + 1)}]" if row.note else ""
        ours = "-" if row.ours is None else f"{row.ours:.{row.decimals + 1}f}"
        unit = "%" if row.unit == "%" else "T"
        table.add_row(
            row.table,
            row.method,
            str(row.tokens),
            f"{row.published} {unit}",
            ours,
            MARKS[row.verdict] + note.replace("[", "\\["),
        )
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in MARKS}
    total = (
        f"{len(rows)} figures: {counts['matches']} match to the printed digit, {counts['differs']} differ, "
        f"{counts['not computable']} have no published schedule"
    )
    show(table, "", legend({f"[{number}]": note for note, number in notes.items()}), "", total)
