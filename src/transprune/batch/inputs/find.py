"""Choose the kind of an input by what is there."""

from __future__ import annotations

import os

from transprune.batch.files import Opener, absolute, is_address
from transprune.batch.inputs import lines, parquet, pictures
from transprune.batch.inputs.base import Table
from transprune.batch.settings import Columns
from transprune.errors import BatchError


def find_table(place: str, question: str | None, columns: Columns, opener: Opener) -> Table:
    """The rows at a place.

    Args:
        place: a folder of pictures or of parquet files, a `.parquet` or `.jsonl` file; of this
            machine or of an object store.
        question: asked about every row; None takes that of the row.
        columns: names of columns or fields.
        opener: opens files.

    Raises:
        BatchError: there is nothing, or nothing that has rows.
    """
    where = absolute(place)
    kind = _kind(where)
    return kind(where, question, columns, opener)


def _kind(place: str) -> type[Table]:
    """By the suffix of a file, or by the names in a folder."""
    if not is_address(place) and not os.path.exists(place):
        raise BatchError(f"no file or folder {place}; --input is what has the pictures")

    # an address may have options of its store behind a question mark
    name = place.partition("?")[0].lower()
    is_file = os.path.isfile(place) if not is_address(place) else "." in name.rpartition("/")[2]
    if name.endswith(lines.SUFFIXES) and is_file:
        return lines.Lines
    if name.endswith(parquet.SUFFIX) and is_file:
        return parquet.Parquet
    if is_file and not is_address(place):
        raise BatchError(
            f"{place} has no rows: --input is a folder of pictures, a .parquet or a .jsonl file; "
            "for one picture there is `transprune run`"
        )

    # a folder is one table: of pictures, or of parquet files whose rows have pictures
    names = [found.lower() for found in pictures.list_files(place)]
    tables = any(found.endswith(parquet.SUFFIX) for found in names)
    files = any(found.endswith(pictures.SUFFIXES) for found in names)
    if tables and files:
        raise BatchError(
            f"{place} has pictures and parquet files in it; give a folder that has one kind only"
        )
    if not tables and not files:
        raise BatchError(
            f"{place} has no pictures ({', '.join(pictures.SUFFIXES)}) and no parquet files in it"
        )

    return parquet.Parquet if tables else pictures.Pictures
