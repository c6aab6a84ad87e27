"""`transprune methods`: what exists, from which paper, and what it needs."""

from __future__ import annotations

from typing import Any

from transprune.cli.console import Json, new_table, print_json, show


def methods_command(as_json: Json = False) -> None:
    """List the methods: kind, presets, what they need of the model, whether and how they deviate, and their papers."""
    rows = list_methods()
    if as_json:
        print_json({"methods": rows})
        return
    table = new_table(
        "methods",
        ("name", "kind", "presets", "needs"),
        left=("name", "kind"),
        wrap=("presets", "needs"),
    )
    details = new_table("papers", ("name", "what"), left=("name",), wrap=("what",))
    for row in rows:
        table.add_row(
            row["name"],
            row["kind"],
            ", ".join(row["presets"]) or "-",
            ", ".join(row["reads"]) or "nothing",
        )
        what = [row["title"], row["paper"]]
        if row["deviates"]:
            what.append(f"deviates: {row['deviates']}")
        elif row["kind"] != "composition" and not row["paper"].startswith("control"):
            what.append("as published")
        details.add_row(row["name"], "\n".join(what))
    show(
        table,
        "",
        details,
        "",
        "Give settings after a colon, compose with a plus: fastv:layer=3,keep_ratio=0.25  visionzip:keep=192+pdrop",
    )


def list_methods() -> list[dict[str, Any]]:
    """One JSON-ready mapping per registered method."""
    import transprune.methods  # noqa: F401  (registers them)
    from transprune.methods.common.recipe import METHODS, preset_names

    rows = []
    for name in METHODS:
        cls = METHODS.get(name)
        rows.append(
            {
                "name": name,
                "title": cls.title,
                "kind": cls.kind,
                "paper": cls.paper,
                "presets": preset_names(name),
                "reads": _reads(cls),
                "deviates": cls.deviates,
                "positions": cls.default_positions,
            }
        )
    return rows


SIGNALS = {
    "saliency": "vision attention (CLS row, or the mean where there is no CLS)",
    "early_saliency": "vision attention of an early layer",
    "outer_saliency": "vision attention one layer further out",
    "keys": "vision keys",
    "outer_keys": "vision keys one layer further out",
    "place": "patch grid",
    "picture": "the picture, to encode it again",
}
ROWS = {
    "instruction": "attention of the instruction",
    "last": "attention of the last token",
    "mean": "mean query",
}
COMPARED = {"features": "features compared with each other", "layer_keys": "keys of a layer"}


def _reads(cls: Any) -> list[str]:
    """What a method needs from the model besides the hidden states, with its defaults."""
    from transprune.errors import MethodError

    try:
        method = cls()
        readings = method.readings(32)
    except MethodError:  # a composition has no defaults
        return ["what its parts read"]
    reads = [SIGNALS[name] for name in SIGNALS if name in method.reads_vision]
    if method.reads_question:
        reads.append(
            "CLIP's text tower, if the vision tower is CLIP's; else the instruction's embeddings"
        )
    reads += [
        text for rows, text in ROWS.items() if any(reading.rows == rows for reading in readings)
    ]
    if any(reading.embeddings for reading in readings):
        reads.append("embeddings of image and instruction")
    if any(reading.observed for reading in readings):
        reads.append("module transitions")
    if method.frozen(32):
        reads.append("an order of layers, released or from `transprune calibrate`")
    return reads + [
        text for kind, text in COMPARED.items() if any(r.similarity == kind for r in readings)
    ]
