"""Fields of a processor's configuration that differ from those of its model, each in one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from transprune.core.shown import shown

FILE = "processor_config.json"
IMAGE_FILE = "preprocessor_config.json (or the image_processor in processor_config.json)"


@dataclass(frozen=True)
class Difference:
    """A field of the processor that differs from the model's.

    Attributes:
        field: its name in the file.
        file: the file that has it.
        got: its value.
        expected: the value that fits the model.
        why: where the expected value comes from.
        always: whether every picture is read wrongly with it; else only the number of tokens
            counts, which two differences can leave equal.
    """

    field: str
    file: str
    got: Any
    expected: Any
    why: str
    always: bool = False

    def __str__(self) -> str:
        got = "null" if self.got is None else shown(self.got)
        return f"{self.field} in {self.file} is {got}, but {self.why} {shown(self.expected)}"


def find_differences(processor: Any, base: Any, has_cls: bool) -> list[Difference]:
    """Every known field that differs; empty if none does.

    Args:
        processor: of the checkpoint.
        base: the module that has the model's configuration as `config`.
        has_cls: whether the vision tower has a CLS token.
    """
    config = base.config
    image_processor = processor.image_processor

    return [
        *_of_the_prompt(processor, config, has_cls),
        *_of_the_image_token(processor, config),
        *_of_the_patches(image_processor, config),
        *_of_the_size(image_processor, config.vision_config),
    ]


def _of_the_prompt(processor: Any, config: Any, has_cls: bool) -> Iterator[Difference]:
    """What LLaVA's processors count placeholders from."""
    patch = _side(getattr(config.vision_config, "patch_size", None))
    if hasattr(processor, "patch_size") and processor.patch_size != patch:
        why = "the model's vision_config.patch_size is"
        yield Difference("patch_size", FILE, processor.patch_size, patch, why)

    name = "vision_feature_select_strategy"
    strategy = getattr(config, name, None) or "default"  # of models that have no choice
    got = getattr(processor, name, strategy)
    if got != strategy:
        yield Difference(name, FILE, got, strategy, "for this model it is")

    # a field that is missing in the file counts as 0
    name = "num_additional_image_tokens"
    got = getattr(processor, name, int(has_cls))
    if got != int(has_cls):
        tower = "this vision tower has a CLS token, which makes it"
        if not has_cls:
            tower = "this vision tower has no CLS token, which makes it"
        yield Difference(name, FILE, got, int(has_cls), tower)


def _of_the_image_token(processor: Any, config: Any) -> Iterator[Difference]:
    """The id of the placeholder."""
    expected = getattr(config, "image_token_id", None)
    token = getattr(processor, "image_token", None)
    if expected is None or token is None:
        return

    got = processor.tokenizer.convert_tokens_to_ids(token)
    if got != expected:
        why = f"{token!r} has this id in the tokenizer, and the model's image_token_id is"
        yield Difference("image_token", FILE, got, expected, why)


def _of_the_patches(image_processor: Any, config: Any) -> Iterator[Difference]:
    """How an image processor that makes patches or tiles itself cuts a picture."""
    vision = config.vision_config
    fields = {
        "patch_size": getattr(vision, "patch_size", None),
        "merge_size": getattr(vision, "spatial_merge_size", None),
        "temporal_patch_size": getattr(vision, "temporal_patch_size", None),
    }

    for name, expected in fields.items():
        got = _side(getattr(image_processor, name, None))
        if None not in (got, expected) and got != _side(expected):
            why = "the model's vision_config makes it"
            yield Difference(name, IMAGE_FILE, got, expected, why, always=True)

    # the sizes to which a picture may be cut; both sides count tokens by them
    name = "image_grid_pinpoints"
    expected = _pairs(getattr(config, name, None))
    got = _pairs(getattr(image_processor, name, None))
    if None not in (got, expected) and got != expected:
        yield Difference(name, IMAGE_FILE, got, expected, "config.json has", always=True)


def _of_the_size(image_processor: Any, vision: Any) -> Iterator[Difference]:
    """The size that pictures are brought to, where the tower has a fixed one."""
    expected = getattr(vision, "image_size", None)
    if not isinstance(expected, int):
        return
    # pictures keep their shape, within a number of pixels; the size is that of the positions (GLM-V)
    if _entry(getattr(image_processor, "size", None), "longest_edge") is not None:
        return

    # what is cut last decides
    crops = bool(getattr(image_processor, "do_center_crop", False))
    name = "crop_size" if crops else "size"
    got = _side(getattr(image_processor, name, None))
    if got is not None and got != expected:
        yield Difference(name, IMAGE_FILE, got, expected, "the model's vision_config.image_size is")
    elif not crops and _entry(getattr(image_processor, name, None), "shortest_edge"):
        # only the shorter side has that size, so the longer one has to be cut
        why = "the vision tower takes squares only, which makes it"
        yield Difference("do_center_crop", IMAGE_FILE, crops, True, why)


def _side(value: Any) -> Any:
    """One number for a square size in any spelling; None where it is no square, or unknown."""
    if value is None or isinstance(value, int):
        return value

    sides = {_entry(value, name) for name in ("height", "width", "shortest_edge")} - {None}
    return sides.pop() if len(sides) == 1 else None


def _entry(value: Any, name: str) -> Any:
    """An entry of a mapping, or an attribute of a size object."""
    return value.get(name) if hasattr(value, "get") else getattr(value, name, None)


def _pairs(value: Any) -> list[list[int]] | None:
    """Tiles as lists: files, configurations and processors spell them differently."""
    try:
        return None if value is None else sorted(list(pair) for pair in value)
    except TypeError:  # no pairs; whoever uses them says so
        return None


def count_features(
    family: Any, base: Any, inputs: Any, placeholders: int, differences: bool
) -> int | None:
    """Visual tokens that the model makes of the pictures in `inputs`.

    None where the vision tower fails on them while some field is known to differ.

    Args:
        family: of the model.
        base: the module that has the vision tower; only shapes are computed on the meta device.
        inputs: what the processor returned.
        placeholders: visual tokens in the prompt.
        differences: whether a field is known to differ.

    Raises:
        ValueError: the vision tower refuses the size.
    """
    weight = next(base.parameters())
    try:
        encode = base.get_image_features
        wanted = inspect.signature(encode).parameters
        pictures = {name: value for name, value in inputs.items() if name in wanted}
        pictures["pixel_values"] = pictures["pixel_values"].to(weight.device, weight.dtype)
        with torch.no_grad():
            return sum(len(rows) for rows in encode(**pictures).pooler_output)
    except ValueError:
        raise
    # a tower whose positions depend on the picture (Qwen2.5-VL) cannot run on shapes alone; it
    # takes any size, and its tokens are counted from the sizes that came with the pixels
    except Exception:
        if differences:
            return None
        return sum(family.tokens_per_raw_image(base, inputs, placeholders))
