"""Rows of parquet files, and their pictures, which are decoded only when they are asked for.

Files of benchmarks hold gigabytes of pictures. Rows are read without them; a picture is read with
its row group when it is needed, and the last few row groups are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from transprune.errors import ImageError, MissingExtra, TaskError
from transprune.models.images import to_rgb
from transprune.models.source import first_line

GROUPS_KEPT = 4  # row groups of pictures in memory


def need_parquet() -> None:
    """Check that parquet files can be read.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "benchmarks lie in parquet files, read with pyarrow: pip install 'transprune[reproduce]'"
        ) from error


@dataclass(frozen=True)
class Place:
    """Where a row is: file, row group, and number in the group."""

    file: Path
    group: int
    row: int

    def __str__(self) -> str:
        return f"{self.file}, row {self.row} of group {self.group}"


@dataclass(frozen=True)
class StoredPicture:
    """A picture of a row; calling it reads and decodes it.

    Attributes:
        place: of the row.
        column: of the picture.
        number: in the list, where the column holds lists.
    """

    place: Place
    column: str
    number: int = 0

    def __call__(self) -> Image.Image:
        """The picture in RGB.

        Raises:
            ImageError: the row has none, or it is damaged; file and row are named.
        """
        cell = _column(self.place.file, self.place.group, self.column)[self.place.row].as_py()
        entries = cell if isinstance(cell, list) else [cell]
        entry = entries[self.number] if self.number < len(entries) else None
        content = (entry or {}).get("bytes")
        if not content:
            raise ImageError(f"{self.place}: no picture in column {self.column!r}")

        try:
            with Image.open(BytesIO(content)) as image:
                image.load()
                return to_rgb(image)
        # what a reader raises on a damaged picture differs from format to format
        except Exception as error:
            raise ImageError(f"{self.place}: damaged picture ({first_line(error)})") from error


def read_rows(
    files: Sequence[Path], needed: Sequence[str], picture: str
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every row without its picture, with its place.

    Args:
        files: parquet files, in order.
        needed: columns that must be there.
        picture: column that is not read.

    Raises:
        TaskError: no parquet, or a column is missing.
    """
    import pyarrow.parquet as pq

    for file in files:
        try:
            source = pq.ParquetFile(file)
        except Exception as error:
            raise TaskError(f"{file} is no parquet file: {first_line(error)}") from error

        names = source.schema_arrow.names
        if missing := [name for name in needed if name not in names]:
            raise TaskError(
                f"{file} lacks the column {', '.join(missing)}; it has {', '.join(names)}. Fetch "
                "the data set again"
            )

        columns = [name for name in names if name != picture]
        for group in range(source.num_row_groups):
            rows = source.read_row_group(group, columns=columns).to_pylist()
            for number, row in enumerate(rows):
                yield Place(file, group, number), row


@lru_cache(maxsize=GROUPS_KEPT)
def _column(file: Path, group: int, column: str) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(file).read_row_group(group, columns=[column]).column(0)
