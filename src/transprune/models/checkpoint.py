"""Load a model and its processor, and refuse what transformers would only warn about.

A checkpoint that lacks weights, or whose weights have other shapes than its configuration says, loads with random
numbers in their place and a warning nobody reads. Here it is an error that names the weights.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import warn

from transprune import nano
from transprune.errors import CheckpointError, MissingExtra, PruneError, PruneWarning
from transprune.families import FAMILIES

NANO = "nano"
DTYPES = ("auto", "float32", "bfloat16", "float16")
_FLASH = "flash_attention_2"


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with its processor.

    Attributes:
        source: where it came from, as given.
        model, processor: ready to use, the model in evaluation mode on its device.
        text_tower: where the text half of the model's CLIP is, for methods that want it; None: beside the weights.
    """

    source: str
    model: Any
    processor: Any
    text_tower: str | None = None

    @property
    def crops(self) -> bool:
        """Does the processor show the model only the centre of a picture?"""
        return bool(
            getattr(getattr(self.processor, "image_processor", None), "do_center_crop", False)
        )


def load(
    source: str | os.PathLike[str],
    *,
    dtype: str = "auto",
    device: str = "auto",
    attention: str = "sdpa",
    text_tower: str | None = None,
) -> Checkpoint:
    """The model and processor at a folder, a hub id, or `"nano"` for the bundled model.

    Args:
        source: folder, hub id, or `"nano"`.
        dtype: `"float32"`, `"bfloat16"`, `"float16"`, or `"auto"`: the checkpoint's own on a GPU, float32 on a CPU.
        device: `"cpu"`, `"cuda"`, or `"auto"`: a GPU if there is one.
        attention: attention implementation, `"sdpa"`, `"eager"` or `"flash_attention_2"`.
        text_tower: folder or hub id of the CLIP whose text half CDPruner wants; None looks beside the weights.

    Raises:
        CheckpointError: nothing there, no weights, damaged, missing or mismatched weights, no usable processor.
        UnknownFamily: a model that no family knows how to prune.
        MissingExtra: the processor or the attention implementation needs a package that is not installed.
        PruneError: no such device.
    """
    place = choose_device(device)
    config = read_config(source)
    FAMILIES.get(config.model_type)
    model = _load_model(source, choose_dtype(dtype, place), attention)
    return Checkpoint(
        os.fspath(source), model.to(place), load_processor(source, config.model_type), text_tower
    )


def locate(source: str | os.PathLike[str]) -> str:
    """What transformers should be given: the bundled folder for `"nano"`, an existing folder, or a hub id.

    Raises:
        CheckpointError: it looks like a path, and nothing is there.
    """
    text = os.fspath(source)
    if text == NANO:
        return str(nano.path())
    folder = Path(text).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise CheckpointError(
                f"{text} has no config.json; give the folder that from_pretrained would take"
            )
        return str(folder)
    if folder.exists():
        raise CheckpointError(
            f"{text} is a file; give the folder with config.json and the weights, or a hub id"
        )
    if text.startswith((".", "/", "~")) or text.count("/") != 1 or "\\" in text:
        raise CheckpointError(
            f"no model at {text!r}: no such folder, and no hub id either (those read owner/name)"
        )
    return text


def read_config(source: str | os.PathLike[str]) -> Any:
    """The configuration at `source`; no weights are touched.

    Raises:
        CheckpointError: it cannot be fetched or read, or transformers does not know its model type.
    """
    from transformers import AutoConfig

    place = locate(source)
    try:
        return AutoConfig.from_pretrained(place)
    except OSError as error:
        if Path(place).is_dir():
            raise CheckpointError(
                f"{source}: config.json cannot be read: {_gist(error)}"
            ) from error
        raise CheckpointError(
            f"no folder {place!r} here, and the hub gives no such model: {_gist(error)}"
        ) from error
    except (
        Exception
    ) as error:  # validation errors of configurations share no base class with the built-in ones
        raise CheckpointError(
            f"transformers cannot use the configuration of {source}: {_gist(error)}"
        ) from error


def choose_device(device: str) -> str:
    """`"cpu"` or `"cuda"`, checked.

    Raises:
        PruneError: no such device here.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise PruneError(
            "device 'cuda' was asked for, but torch sees no CUDA device here; use 'cpu' or 'auto'"
        )
    return device


def choose_dtype(dtype: str, device: str) -> Any:
    """A torch dtype, or `"auto"` for the checkpoint's own.

    Raises:
        PruneError: no such dtype.
    """
    import torch

    if dtype not in DTYPES:
        raise PruneError(f"dtype is one of {', '.join(DTYPES)}; got {dtype!r}")
    if dtype == "auto":
        return torch.float32 if device == "cpu" else "auto"
    return getattr(torch, dtype)


def load_processor(source: str | os.PathLike[str], model_type: str = "") -> Any:
    """The processor at `source`. Without torchvision, Qwen2.5-VL gets one that knows images only, no videos.

    Raises:
        CheckpointError: missing or unreadable files.
        MissingExtra: it needs torchvision and there is no way round.
    """
    from transformers import AutoProcessor

    place = locate(source)
    try:
        return _complete(AutoProcessor.from_pretrained(place), source)
    except ImportError as error:
        if model_type == "qwen2_5_vl":
            return _images_only(place)
        raise MissingExtra(
            f"the processor of {source} needs a package that is not installed: {_gist(error)}"
        ) from error
    except PruneError:
        raise
    except Exception as error:  # missing files raise OSError, odd ones nearly anything
        raise CheckpointError(
            f"the processor of {source} cannot be loaded: {_gist(error)}. The folder needs the tokenizer and the image "
            "processor's preprocessor_config.json or processor_config.json."
        ) from error


def _load_model(source: str | os.PathLike[str], dtype: Any, attention: str) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            locate(source),
            dtype=dtype,
            attn_implementation=attention,
            ignore_mismatched_sizes=True,  # so that they are reported; below they are refused
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise CheckpointError(
            f"the weights of {source} are damaged or cut short ({error}); fetch them again"
        ) from error
    except ImportError as error:
        raise MissingExtra(
            f"attention {attention!r} needs a package that is not installed: {_gist(error)}"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"the weights of {source} cannot be loaded: {_gist(error)}"
        ) from error
    except (ValueError, RuntimeError, KeyError) as error:
        if attention == _FLASH and "flash" in str(error).lower():
            raise MissingExtra(
                f"attention {attention!r} cannot run here: {_gist(error)}"
            ) from error
        raise CheckpointError(f"{source} cannot be loaded: {_gist(error)}") from error
    _check_weights(source, report)
    return model.eval()


def _check_weights(source: str | os.PathLike[str], report: dict[str, Any]) -> None:
    """Refuse weights that transformers initialised at random; warn about those it had no use for."""
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{source} lacks {len(missing)} of the weights its configuration asks for: {_some(missing)}. "
            "transformers would fill them with random numbers."
        )
    if mismatched := sorted(report["mismatched_keys"]):
        shown = [
            f"{name} is {tuple(found)}, not {tuple(wanted)}" for name, found, wanted in mismatched
        ]
        raise CheckpointError(
            f"{source}: {len(mismatched)} weights have other shapes than its configuration says: {_some(shown)}"
        )
    if unused := sorted(report["unexpected_keys"]):
        warn(
            f"{source} holds {len(unused)} weights the model has no place for: {_some(unused)}. "
            "Is this its own configuration?",
            PruneWarning,
            stacklevel=4,
        )


def _complete(processor: Any, source: Any) -> Any:
    """The processor, if it has both parts: AutoProcessor falls back to a bare tokenizer where the other is missing."""
    missing = [
        name for name in ("tokenizer", "image_processor") if getattr(processor, name, None) is None
    ]
    if missing:
        raise CheckpointError(
            f"{source} has no {' and no '.join(missing)}; the folder needs processor_config.json or "
            "preprocessor_config.json beside the tokenizer"
        )
    return processor


def _images_only(place: str) -> Any:
    """Qwen2.5-VL's processor without its video part, the only one that needs torchvision."""
    from transformers import Qwen2_5_VLProcessor
    from transformers.processing_utils import ProcessorMixin

    class ImagesOnly(Qwen2_5_VLProcessor):
        """The same prompt expansion and image processing; videos are unknown to it."""

        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None
        ) -> None:
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    try:
        return ImagesOnly.from_pretrained(place)
    except Exception as error:
        raise MissingExtra(
            f"the processor of {place} needs torchvision (pip install torchvision); reading its image part "
            f"alone failed as well: {_gist(error)}"
        ) from error


def _some(names: list[str], most: int = 4) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _gist(error: BaseException) -> str:
    """The message on one line, without the advice after it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
