"""Files on this machine and in object stores, read in one way.

Paths are of this machine. Addresses (`s3://bucket/folder`) are opened by pyarrow where it knows
their kind, else by fsspec, with the credentials that these find in the environment.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from transprune.core.shown import shorten, shown
from transprune.errors import BatchError, ImageError
from transprune.models.images import check_file
from transprune.models.source import first_line

SCHEME = "://"
WEB = ("http://", "https://")
# an address of these names a bucket; which machine answers is up to the environment of this one
STORES = ("s3", "gs", "gcs")


def is_address(place: str) -> bool:
    """Whether a place is an address, and not a path of this machine."""
    return SCHEME in place


def absolute(place: str) -> str:
    """The same place, however the working directory changes.

    Raises:
        BatchError: an address with credentials in it.
    """
    if not is_address(place):
        return os.path.abspath(place)

    where, query = _split(place)
    # it is written into the settings and into errors
    if "@" in where.partition(SCHEME)[2].partition("/")[0]:
        raise BatchError(
            f"{where.rpartition('@')[2]} is given with credentials in its address; put them into "
            "the environment (AWS_ACCESS_KEY_ID, ...), or into the configuration of the store"
        )

    return where.rstrip("/") + query


def folder_of(file: str) -> str:
    """The folder a file lies in."""
    if not is_address(file):
        return os.path.dirname(file)
    where, query = _split(file)
    return where.rpartition("/")[0] + query


def join(folder: str, name: str) -> str:
    """A file of a folder, by its name or by a path or address of its own.

    Raises:
        ValueError: the name leads to another kind of place.
    """
    if name.lower().startswith(WEB):
        # a list from elsewhere could let this machine ask any server it can reach
        raise ValueError("pictures are not fetched from web addresses; download them first")
    if is_address(name):
        return _named(folder, name)
    if not is_address(folder):
        return os.path.join(folder, name)

    if name.startswith("/"):
        raise ValueError("an absolute path in a table that does not lie on this machine")

    where, query = _split(folder)
    return f"{where}/{name}{query}"


def _named(folder: str, address: str) -> str:
    """An address that a row names by itself, with the options of the folder's store.

    Raises:
        ValueError: it could lead to any machine (`ftp://host`, `simplecache::http://host`,
            `s3://bucket?endpoint_override=host`), or to a file of this one.
    """
    where, options = _split(address)
    scheme, store = _store(where)
    home, own = _split(folder) if is_address(folder) else ("file://", "")
    near = _store(home)

    is_bucket = scheme in STORES and "@" not in store
    if options or not (is_bucket or (scheme, store) == near):
        raise ValueError(
            f"a row may name an address of {', '.join(STORES)}, or of the store that its table lies "
            "in, without options; download the others first"
        )

    return where + own if scheme == near[0] else where


def _store(address: str) -> tuple[str, str]:
    """The kind of an address, and the bucket or machine it names."""
    scheme, _, rest = address.partition(SCHEME)
    return scheme.lower(), rest.partition("/")[0]


def path_in(place: str) -> str:
    """The path within the file system of a place."""
    return _split(place)[0].partition(SCHEME)[2] if is_address(place) else place


def _split(address: str) -> tuple[str, str]:
    """An address without its options, and these with their `?`."""
    where, mark, query = address.partition("?")
    return where, mark + query


def open_system(place: str) -> Any:
    """The pyarrow file system of an address, for paths from `path_in`.

    Raises:
        BatchError: no such kind of address, or it cannot be reached.
    """
    from pyarrow.fs import FileSystem

    if place.lower().startswith(WEB):
        raise BatchError(f"{place} is a web address; download it, and give the files")

    try:
        return FileSystem.from_uri(place)[0]
    except Exception as error:
        if "nrecognized filesystem type" not in str(error):
            raise BatchError(f"{place} cannot be opened: {first_line(error)}") from error

    return _by_fsspec(place)


def _by_fsspec(place: str) -> Any:
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    try:
        from fsspec.core import url_to_fs

        system, _ = url_to_fs(place)
    except Exception as error:
        raise BatchError(
            f"{place} cannot be opened: {first_line(error)}. Addresses are of kinds that pyarrow "
            "or an installed package of fsspec knows, as s3://bucket/folder"
        ) from error

    return PyFileSystem(FSSpecHandler(system))


class Opener:
    """Opens files, with one connection for each store."""

    def __init__(self) -> None:
        self._system = lru_cache(maxsize=16)(open_system)

    def open(self, file: str) -> Any:
        """A file as a stream of bytes."""
        # pyarrow takes no names that are no Unicode
        if not is_address(file):
            return open(file, "rb")
        return self.system(file).open_input_file(path_in(file))

    def system(self, file: str) -> Any:
        """The file system of an address."""
        # a store is the same for all files of a bucket
        where, query = _split(file)
        scheme, _, rest = where.partition(SCHEME)
        return self._system(f"{scheme}{SCHEME}{rest.partition('/')[0]}{query}")

    def read(self, file: str, most: int) -> bytes:
        """The bytes of a file.

        Raises:
            ImageError: it is missing, no file, empty, larger than `most` bytes, or unreadable.
        """
        try:
            size = self._size(file)
            if size > most:
                raise ImageError(f"{shorten(file)} has {size:,} bytes, more than {most:,}")
            with self.open(file) as stream:
                return bytes(stream.read(most))
        except ImageError:
            raise
        # every store has errors of its own
        except Exception as error:
            raise ImageError(f"{shown(file)} cannot be read: {first_line(error)}") from error

    def _size(self, file: str) -> int:
        """Bytes of a file that can be read to its end."""
        if not is_address(file):
            check_file(Path(file))
            return os.path.getsize(file)

        from pyarrow.fs import FileType

        info = self.system(file).get_file_info(path_in(file))
        if info.type != FileType.File:
            raise ImageError(f"no file {shorten(file)}")
        if info.size == 0:
            raise ImageError(f"{shorten(file)} is empty (0 bytes)")
        # some stores do not say; then the reading itself is bounded
        return info.size or 0
