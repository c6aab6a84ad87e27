"""Load the weights of a model, and refuse weights that are missing or have the wrong shape.

transformers fills such weights with random numbers and only logs a warning. Here they are an error
that names them.
"""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any
from warnings import warn

from transprune.core.shown import shown
from transprune.errors import CheckpointError, MissingExtra, PruneWarning
from transprune.models.source import first_line, locate

_FLASH = "flash_attention_2"
_LARGER = 4  # the model beside its weights; tied weights, dropped heads and the like stay below
_NAMED = 4  # weights that a message names; it counts the others


def load_weights(source: str | os.PathLike[str], dtype: Any, attention: str) -> Any:
    """Load a model on the CPU, in evaluation mode, with all of its weights checked.

    Args:
        source: `"nano"`, a folder or a hub id.
        dtype: a torch dtype, or `"auto"` for the dtype of the checkpoint.
        attention: attention implementation, as `from_pretrained` takes it.

    Raises:
        CheckpointError: no weights, or damaged, missing or mismatched ones.
        MissingExtra: the attention implementation needs a package that is not installed.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            locate(source),
            dtype=dtype,
            attn_implementation=attention,
            ignore_mismatched_sizes=True,  # to get a list of them; `_check` refuses them
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise CheckpointError(
            f"the weights of {source} are damaged or cut short ({error}); fetch them again"
        ) from error
    except ImportError as error:
        raise MissingExtra(
            f"attention {attention!r} needs a package that is not installed: {first_line(error)}"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"the weights of {source} cannot be loaded: {first_line(error)}"
        ) from error
    # configurations that do not belong to the weights, or have values of a wrong type
    except Exception as error:
        # some releases raise ImportError for a missing flash-attn, others ValueError
        if attention == _FLASH and "flash" in str(error).lower():
            raise MissingExtra(
                f"attention {attention!r} cannot run here: {first_line(error)}"
            ) from error
        raise CheckpointError(f"{source} cannot be loaded: {first_line(error)}") from error

    _check(source, report)
    _check_special_ids(source, model.generation_config)
    return model.eval()


def check_size(skeleton: Any, source: str | os.PathLike[str]) -> None:
    """Refuse a configuration that defines a much larger model than the weights in its folder.

    transformers would allocate all of it, and only then compare shapes. Nothing is checked where
    the weights are not in a local folder as safetensors, or are packed by a quantiser.

    Raises:
        CheckpointError: it defines more than four times as many numbers.
    """
    stored = sum(prod(shape) for shape in stored_shapes(Path(locate(source))))
    if not stored or hasattr(skeleton.config, "quantization_config"):
        return

    defined = sum(weight.numel() for weight in skeleton.parameters())
    if defined > _LARGER * stored:
        raise CheckpointError(
            f"{source}: config.json defines a model of {defined:,} weights, but its files hold "
            f"{stored:,}. Does config.json belong to these weights? A size that it leaves out "
            "becomes that of a 7B model"
        )


def stored_shapes(folder: Path) -> list[tuple[int, ...]]:
    """Shapes in the safetensors of a folder, read from their headers; none where that fails."""
    from safetensors import SafetensorError, safe_open

    shapes = []
    try:
        for file in folder.glob("*.safetensors"):
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    shapes.append(tuple(tensors.get_slice(name).get_shape()))
    # loading reports damaged files
    except (OSError, SafetensorError):
        return []

    return shapes


def _check(source: str | os.PathLike[str], report: dict[str, Any]) -> None:
    """Refuse weights that transformers initialised at random; warn about those it did not use."""
    # what the model has and the file lacks
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{source} lacks {len(missing)} of the weights that its configuration defines: "
            f"{_some(missing)}. transformers would fill them with random numbers."
        )

    if mismatched := sorted(report["mismatched_keys"]):
        shapes = [
            f"{name} is {tuple(found)}, not {tuple(expected)}"
            for name, found, expected in mismatched
        ]
        raise CheckpointError(
            f"{source}: {len(mismatched)} weights have shapes that differ from its configuration: "
            f"{_some(shapes)}"
        )

    # harmless, as a rule: a training head, or an older name; but it may be the wrong configuration
    if unused := sorted(report["unexpected_keys"]):
        warn(
            f"{source} holds {len(unused)} weights that the model does not use: {_some(unused)}. "
            "Does config.json belong to these weights?",
            PruneWarning,
            stacklevel=4,  # the caller of `checkpoint.load`
        )


def _check_special_ids(source: str | os.PathLike[str], generation: Any) -> None:
    """Refuse token ids that are none; `generate` fails on them only when it starts."""
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(generation, name, None)
        for number in value if isinstance(value, list) else [value]:
            if number is not None and (type(number) is not int or abs(number) >= 2**31):
                raise CheckpointError(
                    f"{source}: {name} in generation_config.json or config.json must be a token id "
                    f"or null; got {shown(value)}"
                )


def _some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:_NAMED])
    rest = len(names) - _NAMED
    return f"{shown} and {rest} more" if rest > 0 else shown
