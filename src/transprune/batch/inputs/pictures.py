"""A folder of pictures, with all folders in it. A row's id is the path from the folder on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import ClassVar

from transprune.batch.files import is_address, join, open_system, path_in
from transprune.batch.inputs.base import Table
from transprune.batch.row import Row
from transprune.errors import BatchError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
NOT_SEEN = 3  # names of files that are left out


class Pictures(Table):
    """The pictures of a folder, sorted by their paths.

    Raises:
        BatchError: no question was given.
    """

    noun: ClassVar[str] = "pictures"

    def rows(self) -> Iterator[Row]:
        """A row per picture, by the suffix of its name; hidden files are left alone."""
        if self.question is None:
            raise BatchError(
                "a folder of pictures has no questions in it; give one with --question"
            )

        others = []
        for name in list_files(self.place, self.notes):
            if name.lower().endswith(SUFFIXES):
                yield Row(name, name, self.question, join(self.place, name))
            else:
                others.append(name)

        if others:
            named = ", ".join(sorted(others)[:NOT_SEEN])
            self.notes.append(
                f"{len(others)} files are no pictures by their names and are left out: {named}"
                + (", ..." if len(others) > NOT_SEEN else "")
            )


def list_files(folder: str, notes: list[str] | None = None) -> list[str]:
    """Paths of all files of a folder and the folders in it, from the folder on, sorted.

    Hidden ones are left out: they are caches, and halves of files that another system keeps apart.
    Links to folders are left out with a note, because they may lead in a circle.

    Args:
        folder: of this machine, or an address.
        notes: takes the note.

    Raises:
        BatchError: the folder cannot be listed.
    """
    links: list[str] = []
    try:
        names = _list_store(folder) if is_address(folder) else _list_local(folder, links)
    except OSError as error:
        raise BatchError(f"{folder} cannot be listed: {error.strerror or error}") from error

    links = _visible(links)
    if links and notes is not None:
        notes.append(
            f"{len(links)} links to folders are not followed: {', '.join(links[:NOT_SEEN])}"
            + (", ..." if len(links) > NOT_SEEN else "")
        )

    return _visible(names)


def _visible(names: list[str]) -> list[str]:
    """Those without a hidden file or folder in their path, sorted."""
    shown = []
    for name in names:
        parts = name.split("/")
        if not any(part.startswith(".") for part in parts):
            shown.append(name)

    return sorted(shown)


def _list_local(folder: str, links: list[str]) -> list[str]:
    """Paths of the files; those of links to folders are added to `links`."""

    def fail(error: OSError) -> None:
        # a folder that is skipped in silence would be rows that are missing in silence
        raise error

    found = []
    for place, folders, names in os.walk(folder, onerror=fail):
        inner = os.path.relpath(place, folder).replace(os.sep, "/")
        prefix = "" if inner == "." else f"{inner}/"
        found += [prefix + name for name in names]
        links += [prefix + name for name in folders if os.path.islink(os.path.join(place, name))]

    return found


def _list_store(folder: str) -> list[str]:
    from pyarrow.fs import FileSelector, FileType

    root = path_in(folder).rstrip("/")
    infos = open_system(folder).get_file_info(FileSelector(root, recursive=True))
    found = []
    for info in infos:
        # objects that stand for folders have no bytes of a picture
        if info.type == FileType.File:
            found.append(info.path.strip("/").removeprefix(root.strip("/")).lstrip("/"))

    return found
