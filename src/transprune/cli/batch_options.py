"""The options of `transprune batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transprune.cli.options import MAX_NEW_TOKENS_HELP, OUT_HELP, QUESTION_HELP

Input = Annotated[
    str,
    typer.Option(
        "--input",
        metavar="INPUT",
        help="Folder of pictures or of parquet files, a .parquet or .jsonl file, or the address "
        "of one (s3://...).",
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "--out",
        metavar="FOLDER",
        help=f"{OUT_HELP}; answers of an earlier start in it are not done again.",
    ),
]
OptionalQuestion = Annotated[
    str | None,
    typer.Option(
        "--question",
        metavar="QUESTION",
        help=f"{QUESTION_HELP}; default: the one in each row.",
    ),
]
ImageColumn = Annotated[
    str, typer.Option("--image-column", metavar="NAME", help="Column or field of the picture.")
]
QuestionColumn = Annotated[
    str,
    typer.Option("--question-column", metavar="NAME", help="Column or field of the question."),
]
IdColumn = Annotated[
    str,
    typer.Option(
        "--id-column",
        metavar="NAME",
        help="Column or field by which a row is known; without one: file and number.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="Only the first rows; default: all."),
]
PartRows = Annotated[
    int,
    typer.Option(
        "--part-rows",
        min=1,
        metavar="N",
        help="Rows of one file of the output; a kill loses at most so many for each worker.",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Processes with a model each; more than one run on Ray (`ray` extra).",
    ),
]
OnRay = Annotated[bool, typer.Option("--ray", help="Run on Ray, also a single worker.")]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="ADDRESS",
        help="Run on this Ray cluster, 'auto' for the one of this machine; default: one of its own.",
    ),
]
MaxNewTokens = Annotated[
    int,
    typer.Option("--max-new-tokens", min=1, metavar="N", help=f"{MAX_NEW_TOKENS_HELP}."),
]
MaxPixels = Annotated[
    int, typer.Option("--max-pixels", min=1, metavar="N", help="Pixels of a picture.")
]
MaxFile = Annotated[
    int,
    typer.Option("--max-file-mib", min=1, metavar="N", help="Size of an encoded picture."),
]
