"""Check that a processor makes prompts for the pictures of its model.

A processor writes one placeholder into the prompt for every visual token that the model will put
there, and counts them from its own configuration. Where that differs from the model's, the forward
fails deep inside the model, or the model answers about pixels that it never was trained on. Here one
blank picture goes through the processor, and its shape through the vision tower, so that the
difference is found before any weight is read. `families/processors.py` names the field that causes it.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from PIL import Image

from transprune.errors import CheckpointError
from transprune.families import find_family
from transprune.families.processors import Difference, count_features, find_differences
from transprune.models.source import first_line

PROBE = (336, 224)  # pixels; wider than high, so that rows and columns cannot be mixed up
QUESTION = "What is shown?"


def check_agreement(processor: Any, model: Any, source: str | os.PathLike[str]) -> None:
    """Refuse a processor whose placeholders do not fit what the model makes of a picture.

    Args:
        processor: of the checkpoint.
        model: the model, or its skeleton; only shapes are computed where it is on the meta device.
        source: named in the error.

    Raises:
        CheckpointError: they disagree; it names the field of the processor's configuration, its
            value, the model's value and the cure.
    """
    family = find_family(model)
    base = family.base(model)
    differences = find_differences(processor, base, family.has_cls(base))
    for difference in differences:
        if difference.always:
            _refuse(source, "they cut pictures into patches differently", [difference])

    token = getattr(processor, "image_token", None) or "<image>"
    try:
        inputs = processor(
            text=f"{token}{QUESTION}", images=[Image.new("RGB", PROBE)], return_tensors="pt"
        )
    # `patch_size: null` fails in a division, other slips elsewhere
    except Exception as error:
        _refuse(source, f"it cannot read a picture ({first_line(error)})", differences)

    placeholders = int(family.visual_mask(base, inputs["input_ids"]).sum())
    try:
        rows = count_features(family, base, inputs, placeholders, bool(differences))
    # towers of one size compare it themselves
    except ValueError as error:
        _refuse(
            source, f"its pictures do not fit the vision tower ({first_line(error)})", differences
        )

    if rows is None:
        _refuse(source, "its pictures do not fit the vision tower", differences)
    if placeholders != rows:
        size = f"{PROBE[0]} x {PROBE[1]}"
        what = f"a picture of {size} gets {placeholders} placeholders for {rows} visual tokens"
        _refuse(source, what, differences)


def _refuse(source: str | os.PathLike[str], what: str, differences: list[Difference]) -> NoReturn:
    """Raise the error that names the fields, or where to look if none is known to differ."""
    if differences:
        named = "; ".join(map(str, differences))
        cure = "Correct it there, or take processor and model from one source"
        raise CheckpointError(
            f"the processor of {source} does not fit its model: {what}. {named}. {cure}."
        )

    raise CheckpointError(
        f"the processor of {source} does not fit its model: {what}. Compare patch_size, "
        "num_additional_image_tokens and vision_feature_select_strategy in processor_config.json "
        "with config.json, or take processor and model from one source."
    )
