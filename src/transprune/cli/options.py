"""The options that several commands share, each defined once.

A flag has the same name, type, choices and meaning in every command that has it. A command with an
addition to the meaning writes it after the shared sentence and a semicolon.
"""

from __future__ import annotations

import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from transprune.models.checkpoint import LoadOptions

MODEL_HELP = "Model: 'nano' (the bundled one), 'smol' (transprune smol), a folder or a hub id"
METHOD_HELP = "Method: a name, preset, recipe or recipe file"
QUESTION_HELP = "Question about the pictures"
OUT_HELP = "Folder to write to"
THREADS_HELP = "CPU threads"
MAX_NEW_TOKENS_HELP = "Length limit of an answer, in tokens"


# The library takes these as text (`LoadOptions`). Enums let the command line list the choices and
# refuse others without loading torch.


class Dtype(str, Enum):
    """The choices of `--dtype`."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Device(str, Enum):
    """The choices of `--device`."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Attention(str, Enum):
    """The choices of `--attn`. Pruning refuses flex_attention, so it is not among them."""

    sdpa = "sdpa"
    eager = "eager"
    flash_attention_2 = "flash_attention_2"


# What to run.
Model = Annotated[str, typer.Option("--model", metavar="MODEL", help=f"{MODEL_HELP}.")]
OptionalModel = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help=f"{MODEL_HELP}.")
]
AnyModel = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="MODEL",
        help=f"{MODEL_HELP}; also a known name, or a config.json file.",
    ),
]
Images = Annotated[
    list[Path],
    typer.Option("--image", metavar="FILE", help="Image file; repeat for several."),
]
Question = Annotated[str, typer.Option("--question", metavar="QUESTION", help=f"{QUESTION_HELP}.")]
Questions = Annotated[
    list[str],
    typer.Option("--question", metavar="QUESTION", help=f"{QUESTION_HELP}; repeat for several."),
]
Method = Annotated[
    str,
    typer.Option(
        "--method", metavar="METHOD", help=f"{METHOD_HELP}; 'unpruned' runs the model as it is."
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option("--method", metavar="METHOD", help=f"{METHOD_HELP}; repeat for several."),
]

# The prompt that costs are counted for.
VisualTokens = Annotated[
    int | None,
    typer.Option("--visual-tokens", min=1, metavar="N", help="Visual tokens of the prompt."),
]
TextTokens = Annotated[
    int | None,
    typer.Option("--text-tokens", min=0, metavar="N", help="All other tokens of the prompt."),
]

# How the model is loaded.
DtypeOption = Annotated[
    Dtype,
    typer.Option("--dtype", help="Number type; auto: float32 on a CPU, else the checkpoint's own."),
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="Where to compute; auto: a GPU if there is one.")
]
AttentionOption = Annotated[
    Attention, typer.Option("--attn", help="Attention implementation of transformers.")
]
TextTower = Annotated[
    str | None,
    typer.Option(
        "--text-tower",
        metavar="MODEL",
        help="Folder or hub id of the CLIP whose text tower cdpruner reads; "
        "default: clip/ beside the weights.",
    ),
]

# How it runs, and what is printed.
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at a bad line of a task file; default: skip it.")
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", min=1, metavar="N", help="Prompts in one batch.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, metavar="N", help=f"{THREADS_HELP}.")]
OptionalThreads = Annotated[
    int | None,
    typer.Option("--threads", min=1, metavar="N", help=f"{THREADS_HELP}; default: one per core."),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        metavar="N",
        help="Seed of the questions and of methods that draw at random.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")
]


def command_line() -> str:
    """The command as it was typed, for the record of what it writes."""
    return shlex.join(["transprune", *sys.argv[1:]])


def load_options(
    dtype: Dtype, device: Device, attention: Attention, text_tower: str | None
) -> LoadOptions:
    """The values of `--dtype`, `--device`, `--attn` and `--text-tower` as one object."""
    from transprune.models.checkpoint import LoadOptions

    return LoadOptions(dtype.value, device.value, attention.value, text_tower)
