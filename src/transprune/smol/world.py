"""Everything pictures are drawn from, in one folder: kinds, photographs and fonts.

It is gathered once, by `transprune smol world`, and only read afterwards. So a picture depends on
the folder and on its number, and not on the releases of fonts and libraries on a machine.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transprune.errors import MissingExtra, SceneError
from transprune.nano.messages import first_line
from transprune.smol.backgrounds import PHOTOGRAPHS, read_photographs
from transprune.smol.kinds import SPLITS, Kinds, Split

# fonts that matplotlib ships; each split has its own
FONTS: dict[Split, tuple[str, ...]] = {
    "train": (
        "DejaVuSans.ttf",
        "DejaVuSans-Bold.ttf",
        "DejaVuSerif.ttf",
        "DejaVuSerif-Bold.ttf",
        "DejaVuSansMono-Bold.ttf",
        "cmss10.ttf",
    ),
    "validation": ("DejaVuSansMono.ttf", "cmb10.ttf"),
    "test": ("STIXGeneral.ttf", "STIXGeneralBol.ttf", "cmtt10.ttf"),
}


@dataclass(frozen=True, eq=False)
class World:
    """What pictures are drawn from.

    Attributes:
        kinds: of things.
        photographs: of each split, uint8 [H, W, 3]; without any, every background is a texture.
        fonts: files of each split, at least one.
        checksum: of kinds and photographs.
    """

    kinds: Kinds
    photographs: dict[Split, list[NDArray[np.uint8]]]
    fonts: dict[Split, tuple[str, ...]]
    checksum: str = ""


def make_world(kinds: Kinds, folder: Path) -> str:
    """Gather kinds, photographs and fonts in a folder; return a checksum of all of it.

    Raises:
        MissingExtra: scikit-image or matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"pictures": kinds.pictures}
    for split in SPLITS:
        for name, photograph in zip(PHOTOGRAPHS[split], read_photographs(split), strict=True):
            arrays[name] = photograph
        _copy_fonts(split, folder)

    part = folder / "part.npz"
    np.savez_compressed(part, allow_pickle=False, **arrays)
    part.replace(folder / "pictures.npz")
    checksum = _checksum(kinds.names, arrays)
    about = {"checksum": checksum, "fonts": _font_checksums(folder), "names": kinds.names}
    text = json.dumps(about, indent=0, ensure_ascii=False)
    (folder / "names.json").write_text(text + "\n", encoding="utf-8")
    return checksum


def load_world(folder: Path) -> World:
    """Read what `make_world` wrote.

    Raises:
        SceneError: it is missing, incomplete or changed.
    """
    try:
        written = json.loads((folder / "names.json").read_text(encoding="utf-8"))
        names = tuple(written["names"])
        with np.load(folder / "pictures.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    # a missing or damaged file fails in json, in zipfile or where its content is used
    except Exception as error:
        raise SceneError(
            f"{folder} has no pictures to draw from ({first_line(error)}); gather them: "
            "transprune smol world"
        ) from error

    same = _checksum(names, arrays) == written.get("checksum")
    if not same or _font_checksums(folder) != written.get("fonts"):
        raise SceneError(
            f"{folder} is incomplete or was changed; gather it again: transprune smol world"
        )

    photographs = {split: [arrays[name] for name in PHOTOGRAPHS[split]] for split in SPLITS}
    fonts = {split: tuple(str(folder / name) for name in FONTS[split]) for split in SPLITS}
    kinds = Kinds(names, arrays["pictures"])
    return World(kinds, photographs, fonts, written["checksum"])


def _copy_fonts(split: Split, folder: Path) -> None:
    """Copy the fonts of a split out of matplotlib, which is not imported.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    found = importlib.util.find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        raise MissingExtra("fonts are those of matplotlib: pip install 'transprune[smol]'")

    source = Path(found.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
    for name in FONTS[split]:
        # moved into place whole: a running training maps these files into its memory
        part = folder / f"{name}.part"
        shutil.copyfile(source / name, part)
        part.replace(folder / name)


def _font_checksums(folder: Path) -> dict[str, str]:
    """Of every font in the folder that pictures use, by name; a missing one is left out."""
    files = [folder / name for split in SPLITS for name in FONTS[split]]
    found = {}
    for file in files:
        if file.is_file():
            found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def _checksum(names: tuple[str, ...], arrays: dict[str, NDArray[np.uint8]]) -> str:
    """Of names and pixels, in the order of the arrays' names."""
    digest = hashlib.sha256("\n".join(names).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
