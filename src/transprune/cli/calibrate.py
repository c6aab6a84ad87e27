"""`transprune calibrate`: which layers of a model need visual tokens least, for ShortV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import new_table, print_json, show
from transprune.cli.options import (
    Attention,
    AttentionOption,
    Device,
    DeviceOption,
    Dtype,
    DtypeOption,
    Images,
    Json,
    Model,
    Questions,
    TextTower,
    load_options,
)
from transprune.cli.progress import follow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image
    from rich.table import Table

    from transprune.cli.progress import Report
    from transprune.models.calibrate import LayerContributions
    from transprune.models.checkpoint import Checkpoint

SHARE = 19 / 32  # of the layers; ShortV freezes 19 of the 32 layers of LLaVA-1.5-7B


def calibrate_command(
    model: Model,
    image: Images,
    question: Questions,
    freeze: Annotated[
        int | None,
        typer.Option(
            "--freeze", min=0, metavar="N", help="Layers to freeze; default: 19 of 32, as ShortV."
        ),
    ] = None,
    dtype: DtypeOption = Dtype.auto,
    device: DeviceOption = Device.auto,
    attn: AttentionOption = Attention.sdpa,
    text_tower: TextTower = None,
    as_json: Json = False,
) -> None:
    """Find the layers that need visual tokens least.

    Prints the contribution of each layer, and a ShortV recipe that freezes the least important.
    Every question is asked about every picture; give 20 pictures or more.
    """
    if not all(text.strip() for text in question):
        raise typer.BadParameter("a question is empty", param_hint="--question")

    with follow(as_json=as_json) as progress:
        progress("loading torch and transformers")
        from transprune.cli.guard import quiet_libraries
        from transprune.models.calibrate import layer_contributions
        from transprune.models.checkpoint import load
        from transprune.models.images import open_image

        with quiet_libraries(bars=False):
            pictures = [open_image(file) for file in image]
            progress(f"loading {model}")
            checkpoint = load(model, load_options(dtype, device, attn, text_tower))
            prompts = _prompts(checkpoint, pictures, question, progress)
            measured = layer_contributions(checkpoint.model, prompts)

    # without --freeze the same share of the layers as in the paper
    layers = len(measured.nats)
    count = round(layers * SHARE) if freeze is None else min(freeze, layers)
    recipe = f"shortv:order={','.join(map(str, measured.order))},count={count}"
    if not as_json:
        show(_table(measured, count), "", recipe)
        return

    print_json(
        {
            "nats": list(measured.nats),
            "prompts": measured.prompts,
            "order": list(measured.order),
            "recipe": recipe,
        }
    )


def _prompts(
    checkpoint: Checkpoint, pictures: list[Image], questions: list[str], progress: Report
) -> Iterator[Any]:
    """Every question about every picture, with the progress shown.

    Prepared one by one, so that only one prompt's pixels are in memory.
    """
    from transprune.models.answer import prepare

    total = len(pictures) * len(questions)
    for number, picture in enumerate(pictures):
        for place, text in enumerate(questions):
            done = number * len(questions) + place
            progress("prompts, each with every layer frozen once", done, total)
            yield prepare(checkpoint, [picture], text)

    progress("prompts, each with every layer frozen once", total, total)


def _table(measured: LayerContributions, count: int) -> Table:
    """One row per layer, smallest contribution first; the first `count` layers are frozen."""
    title = f"layer contribution, {measured.prompts} prompt(s)"
    table = new_table(title, ("layer", "nats", "frozen"))
    for rank, layer in enumerate(measured.order):
        frozen = "yes" if rank < count else ""
        table.add_row(str(layer), f"{measured.nats[layer]:.2e}", frozen)
    return table
