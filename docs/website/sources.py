"""All pages of the site in one folder, as Sphinx wants them.

A file is written only if it changed, so that a second build has little to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from . import families, methods, reference
from .contents import with_contents
from .handwritten import collect


def all_sources() -> dict[str, str | Path]:
    """Every page and file by its path on the site: a text, or the file to copy."""
    found = collect()
    files = {path: source for path, source in found.items() if isinstance(source, Path)}
    pages = {path: source for path, source in found.items() if isinstance(source, str)}

    pages["methods.md"] += methods.overview()
    pages["models.md"] += families.overview()
    pages |= methods.method_pages()
    pages |= families.family_pages()
    pages |= reference.reference_pages()
    return {**files, **with_contents(pages)}


def write_sources(folder: Path) -> int:
    """Write them into `folder`, and take away what is no longer there; how many were written."""
    sources = {path: _bytes(source) for path, source in all_sources().items()}
    _remove_others(folder, sources)

    written = 0
    for path, content in sources.items():
        file = folder / path
        if file.is_file() and file.read_bytes() == content:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        written += 1
    return written


def _bytes(source: str | Path) -> bytes:
    return source.encode() if isinstance(source, str) else source.read_bytes()


def _remove_others(folder: Path, sources: Mapping[str, bytes]) -> None:
    """Remove files of an earlier build whose page is gone."""
    for file in folder.rglob("*"):
        if file.is_file() and file.relative_to(folder).as_posix() not in sources:
            file.unlink()
