"""From the encoded bytes of a row to a picture, or an error that names what is wrong with it.

The files of a backlog come from anywhere. Only common formats are opened, and the header is checked
before a pixel is decoded. Two readings of a file are cheaper than thousands of pictures in memory:
the size decides with which others a row runs, and its pixels are decoded right before.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from transprune.batch.reader import Reader
from transprune.batch.row import Row
from transprune.batch.settings import MIB, Bounds
from transprune.errors import ImageError, PruneWarning
from transprune.models.headers import Header, read_header
from transprune.models.images import decode_image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
KEPT = 256 * MIB  # encoded bytes of a shard in memory; beyond them a picture is read twice


@dataclass(frozen=True)
class Found:
    """A row whose picture has a readable header.

    Attributes:
        row: the row.
        header: format and size.
        data: the encoded picture; None if it has to be read again.
    """

    row: Row
    header: Header
    data: bytes | None


class Shelf:
    """Finds and decodes the pictures of one shard.

    Args:
        reader: reads the encoded pictures.
        bounds: how large they may be.
    """

    def __init__(self, reader: Reader, bounds: Bounds) -> None:
        self._reader = reader
        self._bounds = bounds
        self._kept = 0

    def find(self, row: Row) -> Found:
        """Read a picture's header.

        Raises:
            ImageError: no picture, or one that is refused.
        """
        if row.problem:
            raise ImageError(row.problem)

        data = self._reader.read(row)
        try:
            bounds = self._bounds
            header = read_header(data, FORMATS, bounds.pixels, bounds.aspect)
        except ValueError as error:
            raise ImageError(f"{row.source}: {error}") from error

        self._kept += len(data)
        return Found(row, header, data if self._kept <= KEPT else None)

    def decode(self, found: Found) -> tuple[Image.Image, str | None]:
        """The picture in RGB, and a note about it.

        Raises:
            ImageError: it is damaged or cut short.
        """
        data = found.data if found.data is not None else self._reader.read(found.row)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", PruneWarning)
            picture = decode_image(BytesIO(data), found.row.source)
        notes = [str(one.message) for one in caught]
        return picture, "; ".join(notes) or None
