"""`transprune batch`: one question, or one a row, about very many pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from transprune.cli.batch_options import (
    IdColumn,
    ImageColumn,
    Input,
    Limit,
    MaxFile,
    MaxNewTokens,
    MaxPixels,
    OnRay,
    OptionalQuestion,
    Output,
    PartRows,
    QuestionColumn,
    RayAddress,
    Workers,
)
from transprune.cli.console import new_table, print_json, show
from transprune.cli.options import (
    Attention,
    AttentionOption,
    BatchSize,
    Device,
    DeviceOption,
    Dtype,
    DtypeOption,
    Json,
    Method,
    Model,
    OptionalThreads,
    TextTower,
    command_line,
    load_options,
)
from transprune.cli.progress import follow_quietly
from transprune.cli.targets import need_folder
from transprune.cli.threads import use_threads
from transprune.cli.units import percent

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.batch.settings import Plan
    from transprune.batch.summary import Summary

MIB = 2**20


def batch_command(
    input: Input,
    output: Output = Path("out/batch"),
    model: Model = "nano",
    question: OptionalQuestion = None,
    method: Method = "transprune-high",
    workers: Workers = 1,
    ray: OnRay = False,
    ray_address: RayAddress = None,
    limit: Limit = None,
    batch_size: BatchSize = 16,
    part_rows: PartRows = 256,
    max_new_tokens: MaxNewTokens = 64,
    image_column: ImageColumn = "image",
    question_column: QuestionColumn = "question",
    id_column: IdColumn = "id",
    max_pixels: MaxPixels = 64_000_000,
    max_file_mib: MaxFile = 64,
    dtype: DtypeOption = Dtype.auto,
    device: DeviceOption = Device.auto,
    attn: AttentionOption = Attention.sdpa,
    text_tower: TextTower = None,
    threads: OptionalThreads = None,
    as_json: Json = False,
) -> None:
    """Answer a question about every picture of a folder, parquet or JSON lines, into Parquet.

    A row that cannot be read has its error in a column. Run the same command again to continue
    after an interruption, or when the input has grown.
    """
    need_folder(output, "--output")
    on_ray = ray or workers > 1 or ray_address is not None
    use_threads(1 if on_ray else threads)

    # these load torch, which takes the number of its threads from above
    from transprune.batch.settings import Bounds, Columns, Plan, Work

    work = Work(
        input=input,
        model=model,
        method=method,
        columns=Columns(image_column, question_column, id_column),
        loading=load_options(dtype, device, attn, text_tower),
        bounds=Bounds(file_bytes=max_file_mib * MIB, pixels=max_pixels),
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        # one process has its threads already
        threads=(threads or max(1, (os.cpu_count() or 1) // workers)) if on_ray else None,
    )

    plan = Plan(
        work=work,
        out=output,
        question=question,
        part_rows=part_rows,
        limit=limit,
        workers=workers,
        ray=on_ray,
        ray_address=ray_address,
        command=command_line(),
    )

    summary = _run(plan, as_json)
    if as_json:
        print_json(summary.to_dict())
    else:
        _print(summary)

    # scripts go by the exit code, and a job without one answer is no success
    if summary.errors == summary.rows:
        raise typer.Exit(1)


def _run(plan: Plan, as_json: bool) -> Summary:
    """Answer with the progress shown; notes appear as they come."""
    import warnings

    from transprune.batch.launch import run_batch
    from transprune.errors import PruneWarning

    def on_note(text: str) -> None:
        """A note like any other warning of the command."""
        warnings.warn(text, PruneWarning, stacklevel=2)

    with follow_quietly(as_json) as report:
        return run_batch(plan, report, on_note)


def _print(summary: Summary) -> None:
    show(_table(summary), "")
    if summary.common_errors:
        lines = [f"  {count} x {text}" for text, count in summary.common_errors.items()]
        show("errors, the most frequent first:", *lines, "")
    if summary.cut:
        show(f"{summary.cut} answers ended at --max-new-tokens (column `cut`)", "")

    speed = summary.rows_per_second
    if speed is None:
        show("every row had an answer already")
    else:
        show(
            f"{summary.now} rows in {summary.seconds:.1f} s with {summary.workers} worker(s), "
            f"{speed:.1f} a second, loading counted"
        )

    show(f"answers: {summary.parts}")


def _table(summary: Summary) -> Table:
    """Rows and means of the whole folder."""
    columns = ("rows", "errors", "visual tokens", "left", "prefill FLOPs", "new tokens")
    table = new_table("", columns)
    share = summary.prefill_flops_share
    table.add_row(
        str(summary.rows),
        str(summary.errors),
        _mean(summary.visual_tokens_before),
        _mean(summary.visual_tokens_after),
        "-" if share is None else percent(share),
        _mean(summary.new_tokens),
    )
    return table


def _mean(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
