"""`transprune calibrate`: which layers of your model need visual tokens least, for ShortV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transprune.cli.console import Json, new_table, print_json, show, status

SHARE = 19 / 32  # of the layers, what ShortV freezes of LLaVA-1.5-7B


def calibrate_command(
    model: Annotated[
        str, typer.Option("--model", help="Folder, hub id, or 'nano' for the bundled model.")
    ],
    image: Annotated[
        list[Path],
        typer.Option("--image", help="Image file; repeat for several, 20 or more are good."),
    ],
    question: Annotated[
        list[str], typer.Option("--question", help="What to ask about each; repeat for several.")
    ],
    freeze: Annotated[
        int | None, typer.Option("--freeze", min=0, help="Layers to freeze; default 19 of 32.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure each layer's contribution on your pictures and questions, and print the recipe that follows."""
    with status(as_json) as progress:
        progress("loading torch and transformers")
        from transprune.cli.guard import quiet_libraries
        from transprune.models.answer import prepare
        from transprune.models.calibrate import layer_contributions
        from transprune.models.checkpoint import load
        from transprune.models.images import open_image

        with quiet_libraries(bars=False):
            pictures = [open_image(file) for file in image]
            progress(f"loading {model}")
            checkpoint = load(model)
            progress(f"{len(pictures) * len(question)} prompts, every layer frozen once for each")
            prompts = (
                prepare(checkpoint, [picture], text) for picture in pictures for text in question
            )
            measured = layer_contributions(checkpoint.model, prompts)
    layers = len(measured.nats)
    count = round(layers * SHARE) if freeze is None else min(freeze, layers)
    recipe = f"shortv:order={','.join(map(str, measured.order))},count={count}"
    if as_json:
        order = list(measured.order)
        print_json(
            {
                "nats": list(measured.nats),
                "prompts": measured.prompts,
                "order": order,
                "recipe": recipe,
            }
        )
        return
    table = new_table(
        f"layer contribution, {measured.prompts} prompt(s)", ("layer", "nats", "frozen")
    )
    for layer in measured.order:
        table.add_row(
            str(layer),
            f"{measured.nats[layer]:.2e}",
            "yes" if layer in measured.order[:count] else "",
        )
    show(table, "", recipe)
