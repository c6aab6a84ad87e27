"""The encoded pictures of rows: files of their own, or cells of parquet files."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from transprune.batch.files import Opener, folder_of, join
from transprune.batch.row import FILE, Row
from transprune.batch.settings import Work
from transprune.core.shown import shown
from transprune.errors import ImageError
from transprune.models.source import first_line

FILES_OPEN = 4  # parquet files whose footers are kept


class Reader:
    """Reads the pictures of one job; of parquet files one row group is in memory at a time."""

    def __init__(self, work: Work) -> None:
        self._column = work.columns.image
        self._most = work.bounds.file_bytes
        self._opener = Opener()
        self._footer = lru_cache(maxsize=FILES_OPEN)(self._read_footer)
        self._group = lru_cache(maxsize=1)(self._read_group)

    def read(self, row: Row) -> bytes:
        """The encoded picture of a row.

        Raises:
            ImageError: there is none, it is too large, or it cannot be read.
        """
        if row.number == FILE:
            return self._opener.read(row.file, self._most)
        try:
            cell = self._cell(row.file, row.number)
        except Exception as error:
            raise ImageError(f"{row.source} cannot be read: {first_line(error)}") from error
        return self._bytes(row, cell)

    def _bytes(self, row: Row, cell: Any) -> bytes:
        """What a cell holds: bytes, or `{bytes, path}`, one of which may be null."""
        path = None
        if isinstance(cell, dict):
            path = cell.get("path")
            cell = cell.get("bytes")
        if cell is None and isinstance(path, str) and path:
            try:
                return self._opener.read(join(folder_of(row.file), path), self._most)
            except ValueError as error:
                raise ImageError(f"{row.source}: {error}") from error

        if not isinstance(cell, bytes) or not cell:
            raise ImageError(f"{row.source}: no picture in column {self._column!r}: {shown(cell)}")
        if len(cell) > self._most:
            raise ImageError(f"{row.source} has {len(cell):,} bytes, more than {self._most:,}")
        return cell

    def _cell(self, file: str, number: int) -> Any:
        first = 0
        for group, rows in enumerate(self._footer(file)):
            if number < first + rows:
                return self._group(file, group)[number - first].as_py()
            first += rows
        raise ValueError(f"it has {first} rows only; was it written again since the job began?")

    def _read_footer(self, file: str) -> tuple[int, ...]:
        """Rows of each row group."""
        import pyarrow.parquet as pq

        with self._opener.open(file) as stream:
            footer = pq.ParquetFile(stream).metadata
            return tuple(footer.row_group(group).num_rows for group in range(footer.num_row_groups))

    def _read_group(self, file: str, group: int) -> Any:
        import pyarrow.parquet as pq

        with self._opener.open(file) as stream:
            return pq.ParquetFile(stream).read_row_group(group, columns=[self._column]).column(0)
