"""Whether a folder or a file can be written, found out before the work whose results go there.

Asking for permissions is not enough: they do not bind every user, and a file system may refuse for
other reasons. So a file is really made and removed, and with it every folder that was made for it.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile


def folder_problem(folder: str | os.PathLike[str]) -> str:
    """Why no file can be written into `folder`, or an empty text.

    The folder may be missing, with its parents; nothing is left behind.
    """
    made: list[Path] = []
    try:
        place = Path(folder).absolute()
        blocking = _first_file(place)
        if blocking is not None:
            return _cannot("write into", folder, f"{blocking} is a file", "folder")

        for parent in [*reversed(place.parents), place]:
            if not parent.exists():
                parent.mkdir()
                made.append(parent)

        with TemporaryFile(dir=place):
            return ""
    # ValueError: a null byte in the name
    except (OSError, ValueError) as error:
        return _cannot("write into", folder, _reason(error), "folder")
    finally:
        for parent in reversed(made):
            _remove(parent)


def file_problem(file: str | os.PathLike[str]) -> str:
    """Why `file` cannot be written, or an empty text; its folder has to exist.

    A file that is there keeps its content; a missing one is not left behind.
    """
    try:
        place = Path(file).absolute()
        if place.is_dir():
            return _cannot("write", file, "it is a folder", "file")
        if not place.parent.is_dir():
            return f"no folder {place.parent}; make it first"

        # only trying tells: rights, a full disk and read-only mounts look alike from outside
        if place.exists():
            with place.open("r+b"):
                return ""
        with place.open("xb"):
            pass

        place.unlink()
        return ""
    except (OSError, ValueError) as error:
        return _cannot("write", file, _reason(error), "file")


def _first_file(place: Path) -> Path | None:
    """The first part of a path that exists and is no folder."""
    for parent in [*reversed(place.parents), place]:
        if parent.exists() and not parent.is_dir():
            return parent
    return None


def _remove(folder: Path) -> None:
    """Remove an empty folder; one that somebody else filled meanwhile stays."""
    try:
        folder.rmdir()
    except OSError:
        return


def _cannot(act: str, place: str | os.PathLike[str], reason: str, kind: str) -> str:
    # `repr`: a null byte in a name would be invisible
    return f"cannot {act} {os.fspath(place)!r}: {reason}; choose another {kind}"


def _reason(error: Exception) -> str:
    """The system's words, without the name of the file."""
    return getattr(error, "strerror", None) or str(error)
