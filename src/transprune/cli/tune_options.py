"""The options of `transprune tune`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from transprune.cli.options import METHOD_HELP, OUT_HELP


class CostOption(str, Enum):
    """The choices of `--cost`."""

    flops = "flops"
    kv = "kv"
    ms = "ms"


class LossOption(str, Enum):
    """The choices of `--loss`."""

    kl = "kl"
    last_token = "last-token"


Budget = Annotated[
    str,
    typer.Option(
        "--budget",
        metavar="COST",
        help="Share of the unpruned cost, as 0.35 or 35%; a range, as 0.2:0.6, for a front.",
    ),
]
TuneOut = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help=f"{OUT_HELP}; it becomes the recipe, and a stopped search in it goes on.",
    ),
]
TuneQuestions = Annotated[
    str | None,
    typer.Option(
        "--questions",
        metavar="QUESTIONS",
        help="Folder or file of questions, answers not needed; 'nano' or 'smol': validation "
        "scenes of a test bed. Default: the model's own, else nano.",
    ),
]
TuneMethods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="METHOD",
        help=f"{METHOD_HELP}; repeat for several; settings written in it are not searched. "
        "Default: transprune.",
    ),
]
Cost = Annotated[
    CostOption,
    typer.Option(
        "--cost",
        help="What the budget counts: exact FLOPs of the prefill, bytes of keys and values, or "
        "milliseconds of a prefill, measured here.",
    ),
]
Loss = Annotated[
    LossOption,
    typer.Option(
        "--loss",
        help="Distance from the unpruned model: KL of the first answer tokens, or the last "
        "hidden state of the last prompt token.",
    ),
]
Trials = Annotated[
    int,
    typer.Option("--trials", min=1, metavar="N", help="Settings to try, earlier ones counted."),
]
SampleSize = Annotated[
    int | None,
    typer.Option(
        "--n",
        min=1,
        metavar="N",
        help="Number of scenes (nano, smol; default 40) or questions (file; default all).",
    ),
]
HeldOut = Annotated[
    float,
    typer.Option(
        "--held-out",
        metavar="SHARE",
        help="Share of the pictures that is held out; the search never sees them.",
    ),
]
AnswerTokens = Annotated[
    int,
    typer.Option("--answer-tokens", min=1, metavar="N", help="First answer tokens to compare."),
]
