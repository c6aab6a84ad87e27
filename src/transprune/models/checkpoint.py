"""Load a model and its processor, ready to answer questions.

`source.py` finds the files, `weights.py` loads and checks the model, `processor.py` the processor,
and `agreement.py` checks that both fit each other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from transprune.errors import PruneError
from transprune.families.generic import family_of
from transprune.models.agreement import check_agreement
from transprune.models.processor import load_processor
from transprune.models.skeleton import build_skeleton
from transprune.models.source import read_config
from transprune.models.weights import check_size, load_weights

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded.

    Attributes:
        dtype: `"float32"`, `"bfloat16"`, `"float16"`, or `"auto"`: the dtype of the checkpoint on a
            GPU, float32 on a CPU.
        device: `"cpu"`, `"cuda"`, or `"auto"`: a GPU if there is one.
        attention: attention implementation, `"sdpa"`, `"eager"` or `"flash_attention_2"`.
        text_tower: folder or hub id of the CLIP model whose text tower CDPruner reads; None: the
            folder of the weights.
    """

    dtype: str = "auto"
    device: str = "auto"
    attention: str = "sdpa"
    text_tower: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with its processor.

    Attributes:
        source: `"nano"`, folder or hub id, as it was given.
        model: the model, in evaluation mode on its device.
        processor: its processor.
        text_tower: as in `LoadOptions`.
    """

    source: str
    model: Any
    processor: Any
    text_tower: str | None = None

    @property
    def crops(self) -> bool:
        """True if the processor cuts a picture to its centre, so that the model sees no borders."""
        image_processor = getattr(self.processor, "image_processor", None)
        return bool(getattr(image_processor, "do_center_crop", False))


def load(source: str | os.PathLike[str], options: LoadOptions = LoadOptions()) -> Checkpoint:
    """Load the model and processor at a folder or hub id, or `"nano"` for the bundled model.

    Args:
        source: folder, hub id, or `"nano"`.
        options: dtype, device, attention implementation and text tower.

    Raises:
        CheckpointError: no checkpoint at `source`; no weights, or damaged, missing or mismatched
            ones; no usable processor, or one that does not fit the model.
        UnknownFamily: no family supports this type of model.
        MissingExtra: the processor or the attention implementation needs a package that is not
            installed.
        PruneError: no such device or dtype.
    """
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    config = read_config(source)
    family_of(config)  # an unsupported model fails before its weights are read

    # both on shapes alone: a wrong configuration may define a model that fills the memory
    processor = load_processor(source, config.model_type)
    skeleton = build_skeleton(config, source)
    check_agreement(processor, skeleton, source)
    check_size(skeleton, source)

    # loaded on the CPU and then moved: the checks of the weights need no GPU
    model = load_weights(source, dtype, options.attention)
    return Checkpoint(os.fspath(source), model.to(device), processor, options.text_tower)


def choose_device(device: str) -> str:
    """The device for `"auto"`, or the given one if it exists.

    Raises:
        PruneError: a CUDA device where there is none.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise PruneError(
            f"device {device!r} is not available: torch finds no CUDA device on this machine; "
            "use 'cpu' or 'auto'"
        )

    return device


def choose_dtype(dtype: str, device: str) -> Any:
    """The torch dtype with this name, or `"auto"` where the checkpoint's own is to be used.

    Raises:
        PruneError: no such dtype.
    """
    import torch

    if dtype not in DTYPES:
        raise PruneError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")
    if dtype == "auto":
        # many operations are slow or missing in half precision on a CPU
        return torch.float32 if device == "cpu" else "auto"
    return getattr(torch, dtype)
