"""The long tail: model types of which only the placeholders are known, one table row each.

Their language models follow the common shape, so every method that does not read the vision tower
runs. A type is listed once a tiny random model of its class ran pruned and was equal to its replay
layer by layer (`tests/families`).
"""

from __future__ import annotations

from dataclasses import dataclass

from transprune.families.base import register_family
from transprune.families.placeholders import Placeholders


@dataclass(frozen=True)
class Embedded:
    """What differs between these model types.

    Attributes:
        title: the name for people.
        even: every entry of the pixels becomes the same number of tokens.
        mrope: positions have three axes.
    """

    title: str
    even: bool = True
    mrope: bool = False


TABLE = {
    "aria": Embedded("Aria"),
    "deepseek_vl": Embedded("DeepSeek-VL"),
    "glm_ocr": Embedded("GLM-OCR", even=False, mrope=True),
    "got_ocr2": Embedded("GOT-OCR 2.0"),
    "hyperclovax_vision_v2": Embedded("HyperCLOVA X Vision", even=False),
    "janus": Embedded("Janus"),
    "ovis2": Embedded("Ovis 2"),
    "paddleocr_vl": Embedded("PaddleOCR-VL", even=False, mrope=True),
    "paligemma": Embedded("PaliGemma"),
}


def _register(model_type: str, row: Embedded) -> None:
    """A family of its own for a model type."""
    facts = {
        "__doc__": f"{row.title}, known by its placeholders only.",
        "__module__": __name__,
        "title": row.title,
        "even": row.even,
        "mrope": row.mrope,
    }

    register_family(model_type)(type(f"Embedded_{model_type}", (Placeholders,), facts))


for _model_type, _row in TABLE.items():
    _register(_model_type, _row)
