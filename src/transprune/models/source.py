"""Find a checkpoint (one with a name here, a folder or a hub id) and read its configuration."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from transprune import nano, smol
from transprune.core.shown import shorten
from transprune.errors import CheckpointError, PruneWarning
from transprune.nano import NANO
from transprune.smol import CAVEATS, HOME_VARIABLE, SMOL

# models that have a name here, and the folder that each is loaded from
_NAMED = {NANO: nano.path, SMOL: smol.path}
LONGEST_LINE = 400  # characters of an error of other people; some repeat what was in the file


def locate(source: str | os.PathLike[str]) -> str:
    """Turn a source into what `from_pretrained` takes: a folder or a hub id.

    `"nano"` becomes the folder of the bundled model, `"smol"` that of the second test bed.

    Raises:
        CheckpointError: the source looks like a path, or is `"smol"`, and no checkpoint is there.
    """
    text = os.fspath(source)
    if text in _NAMED:
        return str(_named(text))

    if not text.strip():
        names = ", ".join(map(repr, _NAMED))
        raise CheckpointError(f"a model is {names}, a folder or a hub id; got an empty text")

    # a local folder wins over a hub id of the same name, as in transformers
    folder = Path(text).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise CheckpointError(
                f"{text} has no config.json; give the folder that from_pretrained would take"
            )
        return str(folder)

    # a common slip: the weights file, or config.json itself
    if folder.exists():
        raise CheckpointError(
            f"{text} is a file; give the folder with config.json and the weights, or a hub id"
        )

    # anything else with exactly one slash may be a hub id; only the hub can tell
    looks_like_path = text.startswith((".", "/", "~")) or "\\" in text
    if looks_like_path or text.count("/") != 1:
        raise CheckpointError(
            f"no model at {text!r}: there is no such folder, and a hub id has the form owner/name"
        )

    return text


def is_named(source: str | os.PathLike[str]) -> bool:
    """Whether a model has a name here: nothing is downloaded for it, and no folder replaces it."""
    return os.fspath(source) in _NAMED


def is_local(source: str | os.PathLike[str]) -> bool:
    """Whether a model is on this machine, as far as its source tells."""
    return is_named(source) or Path(source).exists()


def _named(name: str) -> Path:
    """The folder of a model that has a name here.

    Raises:
        CheckpointError: it was not made yet.
    """
    folder = _NAMED[name]()
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"no model in {folder}: put it together with `make smol` or `transprune smol`, or say "
            f"where it is with the environment variable {HOME_VARIABLE}"
        )
    if (folder / CAVEATS).is_file():
        for caveat in (folder / CAVEATS).read_text(encoding="utf-8").splitlines():
            warnings.warn(f"{folder}: {caveat}", PruneWarning, stacklevel=3)
    return folder


def read_config(source: str | os.PathLike[str]) -> Any:
    """Read the configuration of a checkpoint, without its weights.

    Raises:
        CheckpointError: the configuration cannot be fetched or read, transformers does not know its
            model type, or its class is code that comes with the checkpoint.
    """
    from transformers import AutoConfig

    place = locate(source)
    try:
        # without this the question whether to run the checkpoint's own code waits for an answer
        return AutoConfig.from_pretrained(place, trust_remote_code=False)
    except OSError as error:
        # transformers raises the same error for a broken file and for a failed download
        if Path(place).is_dir():
            raise CheckpointError(
                f"{source}: config.json cannot be read: {first_line(error)}"
            ) from error
        raise CheckpointError(
            f"there is no folder {place!r}, and the hub returned no such model: {first_line(error)}"
        ) from error
    # validation errors of configurations share no base class with the built-in exceptions
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise CheckpointError(
                f"{source} brings the code of its model class with it (auto_map in config.json). "
                "transprune prunes classes of transformers itself, and runs no other code: look for "
                "a converted checkpoint of the same model, whose name often ends in -hf"
            ) from error

        raise CheckpointError(
            f"transformers cannot use the configuration of {source}: {first_line(error)}"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without the advice on the lines after it."""
    for line in str(error).splitlines():
        if text := line.strip():
            return shorten(text, LONGEST_LINE).rstrip(".")
    return type(error).__name__
