"""What `transprune cost` prints of counted costs: a table, its legend, a document for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from transprune.cli.console import legend, new_table
from transprune.cli.units import mebibytes, scientific, with_share

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.cost.count import Cost
    from transprune.cost.geometry import Geometry

    Costs = dict[str, tuple[Cost, Cost]]  # by method: paper convention, exact convention


def table(geometry: Geometry, visual: int, text: int, costs: Costs) -> Table:
    """One row per method, the unpruned model first."""
    title = f"{geometry.name}: {geometry.layers} layers, {visual} visual + {text} text tokens"
    columns = (
        "method",
        "visual work\n(paper)",
        "all work\n(exact)",
        "choice\n(score)",
        "next token\n(decode)",
        "memory\n(K/V)",
    )

    found = new_table(title, columns, wrap=("method",))

    # every cost carries the unpruned one beside it; take it from the first
    full_paper, full_exact = next(iter(costs.values()))
    found.add_row(
        "unpruned",
        with_share(scientific(full_paper.full_prefill), 1),
        with_share(scientific(full_exact.full_prefill), 1),
        "-",
        with_share(scientific(full_exact.full_decode), 1, 0),
        with_share(mebibytes(full_exact.full_kv_bytes), 1),
    )

    for name, (paper, exact) in costs.items():
        found.add_row(
            name,
            with_share(scientific(paper.prefill), paper.prefill_share),
            with_share(scientific(exact.prefill), exact.prefill_share),
            scientific(exact.scoring) if exact.scoring else "-",
            with_share(scientific(exact.decode), exact.decode_share, 0),
            with_share(mebibytes(exact.kv_bytes), exact.kv_share),
        )

    return found


def explanations(dtype_bytes: int, bounded: Sequence[str] = ()) -> Table:
    """What the columns count, and of which methods they are upper bounds."""
    entries = {}
    if bounded:
        entries["at most"] = (
            f"{', '.join(bounded)}: the picture decides how much stays; counted is the most"
        )

    return legend(
        {
            "visual work": "of reading the prompt (prefill), visual tokens only, multiply-adds; "
            "choosing is free. As most tables in the field count (paper)",
            "all work": "the same, all tokens, FLOPs, grouped-query attention, LM head and "
            "choosing included (exact)",
            "choice": "the part of exact that choosing the tokens costs",
            "next token": "the first one of the answer (exact)",
            "memory": f"keys and values of all prompt tokens at {dtype_bytes} bytes a number",
            **entries,
        }
    )


def document(
    geometry: Geometry, visual: int, text: int, costs: Costs, bounded: Sequence[str] = ()
) -> dict[str, Any]:
    """The same figures and more, for programs; those of `bounded` are the most it can cost."""
    methods = {
        name: {"paper": paper.to_dict(), "exact": exact.to_dict(), "at_most": name in bounded}
        for name, (paper, exact) in costs.items()
    }

    return {
        "model": asdict(geometry),
        "visual_tokens": visual,
        "text_tokens": text,
        "methods": methods,
    }
