"""Read the JSON of a recipe from a file, a folder, or a repository on the Hugging Face hub."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from transprune.core import strict_json
from transprune.errors import RecipeError

FILE_NAME = "pruning_config.json"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def is_hub_id(text: str) -> bool:
    """Whether a text has the form `user/name` of a hub repository."""
    return HUB_ID.fullmatch(text) is not None


def read_json(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Any:
    """The JSON data at `source`; `revision` and `token` are for hub repositories.

    Raises:
        RecipeError: nothing there, not readable, or not strict JSON.
    """
    try:
        file = _find(source, revision, token)
        content = file.read_bytes()
    except OSError as error:  # no permission, a name too long, a device that fails
        reason = error.strerror or error
        raise RecipeError(f"no recipe at {os.fspath(source)!r}: {reason}") from error

    try:
        return strict_json.read(content)
    except ValueError as error:
        raise RecipeError(f"{file} is not JSON: {error}") from error


def _find(source: str | os.PathLike[str], revision: str | None, token: str | bool | None) -> Path:
    """The local file of a recipe, downloaded if `source` can only be a hub repository."""
    path = Path(source)
    file = path / FILE_NAME if path.is_dir() else path
    if file.is_file():
        return file

    # no hub repository has such a name
    if path.is_absolute() or path.exists() or path.suffix == ".json":
        raise RecipeError(f"no recipe at {os.fspath(source)!r}: {file} is not a file")
    return _fetch(os.fspath(source), revision, token)


def _fetch(repository: str, revision: str | None, token: str | bool | None) -> Path:
    """Download the recipe of a hub repository, or find it in the local cache."""
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(repository, FILE_NAME, revision=revision, token=token)
    # refused names, missing files and every way in which a connection fails
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RecipeError(
            f"no recipe at {repository!r}: neither a file, nor a folder with {FILE_NAME}, nor a "
            f"hub repository that can be reached ({reason})"
        ) from error

    assert found is not None
    return Path(found)
