"""Parquet files with a picture in each row, or the path of one.

A picture is a column of bytes, the `{bytes, path}` that Hugging Face's datasets write, or a text: a
path from the file's own folder on, or an address. Without an id a row is known by its file and
number. Pictures are not read here: a worker reads them with its shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from transprune.batch.files import folder_of, join
from transprune.batch.inputs.base import Table
from transprune.batch.inputs.pictures import list_files
from transprune.batch.row import Row
from transprune.batch.settings import Columns
from transprune.errors import BatchError
from transprune.models.source import first_line

SUFFIX = ".parquet"
ROWS_READ = 4096  # ids and questions at a time


class Parquet(Table):
    """The rows of one parquet file, or of all of a folder.

    Raises:
        BatchError: no parquet, or a column is missing.
    """

    noun: ClassVar[str] = "rows"

    def rows(self) -> Iterator[Row]:
        """A row per row."""
        for name, file in self._files():
            yield from self._rows_of(name, file)

    def _files(self) -> Iterator[tuple[str, str]]:
        """Name and address of each file."""
        if self.place.partition("?")[0].endswith(SUFFIX):
            yield self.place.partition("?")[0].rpartition("/")[2], self.place
            return
        for name in list_files(self.place, self.notes):
            if name.endswith(SUFFIX):
                yield name, join(self.place, name)

    def _rows_of(self, name: str, file: str) -> Iterator[Row]:
        import pyarrow.parquet as pq

        try:
            with self.opener.open(file) as stream:
                source = pq.ParquetFile(stream)
                columns, is_path = self._columns(file, source.schema_arrow)
                number = 0
                for batch in source.iter_batches(batch_size=ROWS_READ, columns=columns):
                    for cells in _as_rows(batch):
                        yield self._row(name, file, number, cells, is_path)
                        number += 1
        except BatchError:
            raise
        except Exception as error:
            raise BatchError(f"{file} is no parquet file: {first_line(error)}") from error

    def _columns(self, file: str, schema: Any) -> tuple[list[str], bool]:
        """The columns to read here, and whether pictures are paths."""
        import pyarrow as pa

        names = self.columns
        if names.image not in schema.names:
            raise BatchError(
                f"{file} has no column {names.image!r} with pictures; it has "
                f"{', '.join(schema.names)}. Name it with --image-column"
            )

        if self.question is None and names.question not in schema.names:
            raise BatchError(
                f"{file} has no column {names.question!r}; it has {', '.join(schema.names)}. Name "
                "it with --question-column, or ask one question of all rows (--question)"
            )

        # the usual name may be missing, one that somebody has typed may not
        if names.id not in schema.names and names.id != Columns.id:
            raise BatchError(
                f"{file} has no column {names.id!r}; it has {', '.join(schema.names)}. Name it with "
                "--id-column, or leave that out: rows are then known by file and number"
            )

        kind = schema.field(names.image).type
        # texts that repeat, as pandas writes its categories
        if pa.types.is_dictionary(kind):
            kind = kind.value_type

        is_path = kind in (pa.string(), pa.large_string(), pa.string_view())
        wanted = [names.id] if names.id in schema.names else []
        if self.question is None:
            wanted.append(names.question)
        if is_path:
            wanted.append(names.image)

        return wanted, is_path

    def _row(self, name: str, file: str, number: int, cells: dict[str, Any], is_path: bool) -> Row:
        place = f"{name}:{number}"
        known = cells.get(self.columns.id)
        id = place if known is None else str(known)
        value = cells.get(self.columns.question)
        if is_path:
            return self.pointing(id, cells[self.columns.image], value, folder_of(file))

        question, problem = self.asked(value)
        return Row(id, place, question, file, number, problem)


def _as_rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Rows of a batch as mappings; a batch of no columns has rows all the same."""
    if batch.num_columns == 0:
        yield from ({} for _ in range(batch.num_rows))
        return
    yield from batch.to_pylist()
