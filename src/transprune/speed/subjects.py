"""What is measured for a user: a checkpoint with its own processor, or a shape with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transprune.cost.count import unpruned_cost
from transprune.cost.geometry import Geometry
from transprune.errors import BenchError, UnknownFamily
from transprune.models.checkpoint import Checkpoint, LoadOptions, choose_device, choose_dtype, load
from transprune.models.prompt import prepare
from transprune.models.source import is_local
from transprune.speed.clocks import clock_of
from transprune.speed.model import build_inputs, build_model, weight_bytes
from transprune.speed.shapes import Shape, find_shape, shape_names

DEFAULTS = LoadOptions()
QUESTION = "What is shown in this picture?"
SIDE = 672  # pixels of a picture; a processor with a fixed size scales it
GIB = 2**30
SQUARE = 2048  # rows of the matrix whose product tells how fast a machine is
RUNS = 12  # two variants, six rounds


@dataclass(frozen=True)
class Subject:
    """A model, and prompts of any number of pictures for it.

    Attributes:
        name: as it was given.
        model: the model, on its device.
        inputs: makes a batch: pictures of each prompt, prompts -> inputs of the model.
        random_weights: whether this is a shape.
    """

    name: str
    model: Any
    inputs: Callable[[int, int], dict[str, Tensor]]
    random_weights: bool

    @property
    def longest(self) -> int:
        """Positions that the language model has."""
        return int(self.model.config.get_text_config().max_position_embeddings)


def find_subject(
    source: str, options: LoadOptions = DEFAULTS, seconds: float | None = None
) -> Subject:
    """The model to measure: `"nano"`, a folder, a hub id, or the name of a shape.

    Args:
        source: what to measure. A folder wins over a shape of the same name.
        options: dtype, device and attention implementation.
        seconds: how long the measurement may take; a shape that is too slow for it is refused
            before it is built. None: no limit.

    Raises:
        BenchError: not enough memory or time for a shape.
        UnknownFamily: a bare name that is no shape.
        CheckpointError: a folder or hub id without a usable checkpoint.
    """
    is_checkpoint = is_local(source) or source.count("/") == 1
    if is_checkpoint:
        return _of_checkpoint(load(source, options))

    try:
        shape = find_shape(source)
    except UnknownFamily as error:
        raise UnknownFamily(
            f"nothing to measure at {source!r}: it is no folder and no hub id, and the shapes that "
            f"can be built with random weights are {', '.join(shape_names())}"
        ) from error

    return _of_shape(shape, options, seconds)


def _of_checkpoint(checkpoint: Checkpoint) -> Subject:
    def inputs(pictures: int, batch: int) -> dict[str, Tensor]:
        one = prepare(checkpoint, [_noise()] * pictures, QUESTION)
        # every input has its prompts or pictures along the first dimension
        return {name: torch.cat([tensor] * batch) for name, tensor in one.items()}

    return Subject(checkpoint.source, checkpoint.model, inputs, random_weights=False)


def _of_shape(shape: Shape, options: LoadOptions, seconds: float | None) -> Subject:
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    if dtype == "auto":
        dtype = torch.bfloat16  # that of the published checkpoints

    check_memory(shape, device, dtype)
    if seconds is not None:
        check_time(shape, device, dtype, seconds)

    model = build_model(shape, device, dtype, options.attention)

    def inputs(pictures: int, batch: int) -> dict[str, Tensor]:
        return build_inputs(shape, batch, pictures, device, dtype)

    return Subject(shape.name, model, inputs, random_weights=True)


def check_memory(shape: Shape, device: str, dtype: torch.dtype) -> None:
    """Check that the weights of a shape fit into the memory that is free.

    Raises:
        BenchError: they do not.
    """
    needed = weight_bytes(shape, dtype)
    free = free_bytes(device)
    if free is None or needed < free:
        return

    name = str(dtype).removeprefix("torch.")
    raise BenchError(
        f"{shape.title} in {name} needs {needed / GIB:.1f} GiB for its weights alone, and "
        f"{free / GIB:.1f} GiB are free on {device}: it is not measured here. Measure a smaller "
        "model (--model nano), try --dtype bfloat16, or use a machine with more memory"
    )


def check_time(shape: Shape, device: str, dtype: torch.dtype, seconds: float) -> None:
    """Check that a few prefills of a shape fit into `seconds`, judged by one matrix product.

    Raises:
        BenchError: they do not.
    """
    geometry = Geometry.from_config(shape.config)
    prompt = shape.prompt
    flops = unpruned_cost(geometry, prompt.visual_tokens, prompt.text_tokens, "exact").prefill

    # the layers are matrix products: none is faster than those alone
    once = flops / matmul_speed(device, dtype)
    if RUNS * once <= seconds:
        return

    raise BenchError(
        f"one prefill of {shape.title} takes {once:.0f} s or more on {device} here, and break-even "
        f"needs {RUNS} or more of them: it is not measured in {seconds:.0f} s. Give "
        f"--budget-seconds {RUNS * once:.0f} or more, or measure a smaller model (--model nano)"
    )


def matmul_speed(device: str, dtype: torch.dtype) -> float:
    """FLOPs per second of a square matrix product, two per multiply-add; the best of three."""
    clock = clock_of(device)
    square = torch.ones(SQUARE, SQUARE, device=device, dtype=dtype)

    times = []
    for _ in range(3):
        start = clock.start()
        square @ square
        times.append(clock.seconds(start, clock.mark()))

    return 2 * SQUARE**3 / min(times)


def free_bytes(device: str) -> int | None:
    """Bytes that are free on a device; None where the system does not say."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])

    # Linux counts memory that it can take back from its own caches as available
    info = Path("/proc/meminfo")
    if not info.exists():
        return None
    for line in info.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024

    return None


def _noise() -> Any:
    """A picture of coloured noise."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
