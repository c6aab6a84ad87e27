"""One row of the output, and the schema that all parts share."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, get_args, get_type_hints

from transprune.batch.row import clean


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to a row, or why it has none.

    Attributes:
        id, source, question: as in the input.
        answer: the text; null if there is an error.
        error: what went wrong; null if there is an answer.
        note: what the reader of the answer should know, as that a picture had several frames.
        cut: whether the answer ended at the length limit.
        method, recipe: what pruned, by name and by the hash of its settings; `"unpruned"` and null
            if nothing did.
        model, weights, dtype: what answered; `weights` is a fingerprint, empty for a hub id.
        visual_tokens_before, visual_tokens_after: of the prompt, and what the last layer had.
        prefill_flops_share: work of the prefill beside the unpruned one, all tokens and scoring
            counted (`exact`).
        prompt_tokens, new_tokens: before pruning; of the answer, its end included.
        prepare_seconds: to decode and prepare this row.
        first_token_seconds, batch_seconds: of the batch it ran in.
        batch_size: rows that ran together.
        versions: of everything that could change an answer.
    """

    id: str
    source: str
    question: str
    answer: str | None = None
    error: str | None = None
    note: str | None = None
    cut: bool | None = None
    method: str
    recipe: str | None
    model: str
    weights: str
    dtype: str
    visual_tokens_before: int | None = None
    visual_tokens_after: int | None = None
    prefill_flops_share: float | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    prepare_seconds: float | None = None
    first_token_seconds: float | None = None
    batch_seconds: float | None = None
    batch_size: int | None = None
    versions: str


NAMES = tuple(field.name for field in fields(Answer))


def schema() -> Any:
    """The Arrow schema of a part."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    hints = get_type_hints(Answer)
    columns = []
    for name in NAMES:
        inner = [part for part in get_args(hints[name]) if part is not type(None)]
        nullable = bool(inner)
        columns.append(pa.field(name, kinds[inner[0] if inner else hints[name]], nullable))

    return pa.schema(columns)


def to_record(answer: Answer) -> dict[str, Any]:
    """An answer as a row of the table."""
    record = asdict(answer)
    for name, value in record.items():
        if isinstance(value, str):
            record[name] = clean(value)
    return record
