"""`transprune methods`: what exists, from which paper, and what it needs."""

from __future__ import annotations

from typing import Any

from transprune.cli.console import Json, new_table, print_json, show


def methods_command(as_json: Json = False) -> None:
    """List the methods: kind, presets, what they read, where they deviate, and their papers."""
    rows = list_methods()
    if as_json:
        print_json({"methods": rows})
        return
    table = new_table("methods", ("name", "kind", "presets", "reads"), left=("name", "kind"), wrap=("presets", "reads"))
    details = new_table("papers", ("name", "what"), left=("name",), wrap=("what",))
    for row in rows:
        table.add_row(row["name"], row["kind"], ", ".join(row["presets"]) or "-", ", ".join(row["reads"]) or "nothing")
        what = [row["title"], row["paper"]]
        if row["deviates"]:
            what.append(f"deviates: {row['deviates']}")
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
    from transprune.recipe import METHODS

    rows = []
    for name in METHODS:
        cls = METHODS.get(name)
        rows.append(
            {
                "name": name,
                "title": cls.title,
                "kind": cls.kind,
                "paper": cls.paper,
                "presets": [f"{name}-{preset}" for preset in cls.presets],
                "reads": _reads(cls),
                "deviates": cls.deviates,
                "positions": cls.default_positions,
            }
        )
    return rows


def _reads(cls: Any) -> list[str]:
    """What a method needs from the model besides the hidden states, with its defaults."""
    from transprune.errors import MethodError

    reads = ["vision tower"] if cls.reads_vision else []
    try:
        readings = cls().readings(32)
    except MethodError:  # a composition has no defaults
        return ["what its parts read"]
    rows = sorted({reading.rows for reading in readings if reading.rows})
    reads += [f"attention of the {'instruction' if row == 'instruction' else 'last token'}" for row in rows]
    if any(reading.observed for reading in readings):
        reads.append("module transitions")
    if any(reading.similarity == "features" for reading in readings):
        reads.append("projected features")
    return reads
