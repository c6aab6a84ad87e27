"""Family facts stay in `families/`: no other file names a model class or an attribute of one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import transprune
from transprune.families import FAMILIES

SOURCE = Path(transprune.__file__).parent

# the bundled model is a LLaVA of its own making, and tables quote the published checkpoints
EXEMPT = ("families", "nano", "smol")
FILES = [
    path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).parts[0] not in EXEMPT
]

ATTRIBUTES = (
    "a vision tower",
    "multi_modal_projector",
    "visual.blocks",
    "image_grid_thw",
    "video_grid_thw",
    "image_sizes",
    "image_token_id",
    "video_token_id",
    "vision_feature_layer",
    "vision_feature_select_strategy",
    "spatial_merge_size",
    "class_embedding",
    "pixel_values",
    "mm_token_type_ids",
)


def code_strings(path: Path) -> Iterator[str]:
    """Attribute names and string constants of the code, docstrings and f-string prose left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            prose.add(node.value)
        if isinstance(node, ast.JoinedStr):
            prose |= set(node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
            if node.attr == "vision_tower":  # as text, a key of the report of `doctor`
                yield "a vision tower"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_knows_a_family(path: Path) -> None:
    found = set(code_strings(path))
    assert not found & set(FAMILIES), "a model type is named outside families/"
    assert not found & set(ATTRIBUTES), "an attribute of a model class is named outside families/"


def test_the_search_would_find_a_leak() -> None:
    leaks = set(code_strings(SOURCE / "families" / "qwen2_5_vl.py"))
    assert leaks & set(FAMILIES) and leaks & set(ATTRIBUTES)
    assert not re.search("qwen2_5_vl", " ".join(code_strings(SOURCE / "session.py")))
