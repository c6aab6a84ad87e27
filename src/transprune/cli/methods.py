"""`transprune methods`: the methods, their papers, and what they need from a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import legend, new_table, print_json, show
from transprune.cli.methods_settings import find_method, show_method, write_fidelity
from transprune.cli.options import Json

if TYPE_CHECKING:
    from rich.table import Table

USAGE = (
    "Give settings after a colon, compose with a plus: "
    "fastv:layer=3,keep_ratio=0.25  visionzip:keep=192+pdrop"
)
# needs are listed for the depth and the visual tokens of LLaVA-1.5-7B
LAYERS = 32
TOKENS = 576

KINDS = {
    "projector-side": "drops once, in front of the language model",
    "within-LLM": "drops between layers of the language model; shortv lets tokens skip layers",
    "hybrid": "both",
    "cache": "evicts keys and values behind the prompt: saves memory and decoding, no prefill",
    "composition": "one method after another",
    "needs": "what the method reads of the model to choose; names as in its paper",
    "exact": "as the paper or its code defines it, but for what it lists as deviating",
    "reconstructed": "parts of the definition were not at hand; what was filled in is said",
    "trained": "needs trained weights",
}

# signals, rows and similarities of a method's announcement -> words for people
SIGNALS = {
    "saliency": "vision attention (CLS row, or the mean where there is no CLS)",
    "early_saliency": "vision attention of an early layer",
    "outer_saliency": "vision attention one layer further out",
    "context_saliency": "vision attention of the most attended patches",
    "keys": "vision keys",
    "outer_keys": "vision keys one layer further out",
    "place": "patch grid",
    "tiles": "where tiles lie in the picture",
    "picture": "the picture, to encode it again",
}
ROWS = {
    "instruction": "attention of the instruction",
    "last": "attention of the last token",
    "mean": "mean query",
    "all": "attention received, of the image and of the instruction",
}
SIMILARITIES = {
    "features": "features compared with each other",
    "layer_keys": "keys of a layer",
    "previous_frame": "features compared with those of the frame before",
}


def methods_command(
    method: Annotated[
        str | None,
        typer.Argument(
            metavar="METHOD",
            help="A method, preset or recipe: its settings with defaults and meaning; default: "
            "the list of all.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the methods, their papers and what they need, or the settings of one."""
    if method is not None:
        about = describe(method_name(method))
        show_method(method, about, as_json)
        return

    rows = list_methods()
    if as_json:
        print_json({"methods": rows})
        return

    show(_overview(rows), "", legend(KINDS), "", _papers(rows), "", USAGE)
    show("Settings of one, with their meaning: transprune methods fastv")


def list_methods() -> list[dict[str, Any]]:
    """One JSON-ready mapping per registered method."""
    from transprune.methods.common.recipe import METHODS

    return [describe(name) for name in METHODS]


def describe(name: str) -> dict[str, Any]:
    """One registered method as a JSON-ready mapping."""
    from transprune.methods.common.recipe import METHODS, preset_names

    cls = METHODS.get(name)
    return {
        "name": name,
        "title": cls.title,
        "kind": cls.kind,
        "paper": cls.paper,
        "presets": preset_names(name),
        "reads": _needs(cls),
        "fidelity": cls.fidelity,
        "reconstructed": cls.reconstructed,
        "deviates": cls.differs_from_code,
        "positions": cls.default_positions,
    }


def method_name(text: str) -> str:
    """The registered name of what a method, preset or recipe text names.

    Raises:
        UnknownMethod: nothing of that name; the message names the closest one.
    """
    found = find_method(text)
    return text if found is None else found.name


def _overview(rows: list[dict[str, Any]]) -> Table:
    columns = ("name", "kind", "presets", "needs")
    table = new_table("methods", columns, left=("name", "kind"), wrap=("presets", "needs"))
    for row in rows:
        presets = ", ".join(row["presets"]) or "-"
        needs = ", ".join(row["reads"]) or "nothing"
        table.add_row(row["name"], row["kind"], presets, needs)
    return table


def _papers(rows: list[dict[str, Any]]) -> Table:
    table = new_table("papers", ("name", "what"), left=("name",), wrap=("what",))
    for row in rows:
        lines = [row["title"], row["paper"]]

        # what controls and compositions say of themselves is in the lines above
        if row["fidelity"] not in ("", "control"):
            lines.append(write_fidelity(row))
        if row["deviates"]:
            lines.append(f"deviates: {row['deviates']}")

        table.add_row(row["name"], "\n".join(lines))

    return table


def _needs(cls: Any) -> list[str]:
    """What a method with its defaults reads from the model besides the hidden states."""
    from transprune.core.signals import kind_of
    from transprune.errors import MethodError

    try:
        method = cls()
        readings = method.reads_at(LAYERS)
    except MethodError:  # a composition has no defaults
        return ["what its parts read"]

    # listed in the order of the tables above, so that two methods are easy to compare
    rows = {reading.rows for reading in readings}
    rows |= {evicted.rows for evicted in method.evicts(LAYERS, [TOKENS] * LAYERS)}
    similarities = {reading.similarity for reading in readings}
    read = {kind_of(name) for name in method.reads.vision}
    needs = [text for name, text in SIGNALS.items() if name in read]
    if method.reads.question:
        needs.append(
            "CLIP's text tower, if the vision tower is CLIP's; else the instruction's embeddings"
        )

    needs += [text for name, text in ROWS.items() if name in rows]
    if any(reading.embeddings for reading in readings):
        needs.append("embeddings of image and instruction")
    if any(reading.observed for reading in readings):
        needs.append("module transitions")
    if method.frozen(LAYERS):
        needs.append("an order of layers, released or from `transprune calibrate`")
    if method.fidelity == "trained":
        needs.append("trained weights, and rows of the instruction")

    needs += [text for name, text in SIMILARITIES.items() if name in similarities]
    return needs
