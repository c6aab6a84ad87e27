"""What a job has done so far, read from its files."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import transprune.batch.parts as parts

SUMMARY_FILE = "summary.json"
ERRORS_SHOWN = 5
LONGEST = 160


@dataclass(frozen=True)
class Summary:
    """All answers of a folder, and the run that ended just now.

    Attributes:
        rows, errors: of the folder.
        cut: answers that ended at the length limit.
        visual_tokens_before, visual_tokens_after, prefill_flops_share, new_tokens: means over the
            rows that have an answer; None if there is none.
        common_errors: the most frequent ones, and how often.
        now, seconds: rows that this run answered, and in what time; the model's loading counts.
        workers: of this run.
        parts: folder of the answers.
        notes: sentences that the reader should know.
    """

    rows: int
    errors: int
    cut: int
    visual_tokens_before: float | None
    visual_tokens_after: float | None
    prefill_flops_share: float | None
    new_tokens: float | None
    common_errors: dict[str, int]
    now: int
    seconds: float
    workers: int
    parts: str
    notes: tuple[str, ...] = ()

    @property
    def rows_per_second(self) -> float | None:
        """Speed of this run."""
        return self.now / self.seconds if self.now and self.seconds else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        return {**asdict(self), "rows_per_second": self.rows_per_second}


_MEANS = ("visual_tokens_before", "visual_tokens_after", "prefill_flops_share", "new_tokens")


def summarise(out: Path, now: int, seconds: float, workers: int, notes: tuple[str, ...]) -> Summary:
    """Read the files of a job one after the other, without its answers.

    Raises:
        BatchError: a damaged file.
    """
    import pyarrow.compute as pc

    rows = errors = cut = 0
    sums = dict.fromkeys(_MEANS, 0.0)
    kinds: Counter[str] = Counter()
    for file in parts.part_files(out):
        table = parts.read_columns(file, ["error", "cut", *_MEANS])
        failed = table.column("error").drop_null()
        rows += len(table)
        errors += len(failed)
        cut += pc.sum(table.column("cut")).as_py() or 0
        kinds.update(text.as_py()[:LONGEST] for text in failed)
        for name in _MEANS:
            sums[name] += pc.sum(table.column(name)).as_py() or 0

    answered = rows - errors
    means = {name: total / answered if answered else None for name, total in sums.items()}

    return Summary(
        rows=rows,
        errors=errors,
        cut=cut,
        common_errors=dict(kinds.most_common(ERRORS_SHOWN)),
        now=now,
        seconds=seconds,
        workers=workers,
        parts=str(out / parts.PARTS),
        notes=notes,
        **means,
    )
