"""The notebooks run, and show what they showed when they were committed."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from release.notebooks import FOLDER, NAMES, execute, outputs, read, text_of

LARGEST = 200_000  # bytes of a notebook, pictures included

# libraries of Jupyter, not ours to mend
pytestmark = [
    pytest.mark.timeout(900),  # they take 5 to 16 s of one core, whoever else uses it
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def pictures(notebook) -> list[bytes]:
    """The pictures in the outputs."""
    found = []
    for cell in outputs(notebook):
        for output in cell:
            if "image/png" in output.get("data", {}):
                found.append(base64.b64decode(output.data["image/png"]))
    return found


def test_these_are_all() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_real_outputs_with_pictures_and_stays_small(name: str) -> None:
    notebook = read(name)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST
    assert pictures(notebook)

    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))  # run from the top, once
    for cell in outputs(notebook):
        for output in cell:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text


@pytest.mark.parametrize(
    "name",
    [
        "quick_start",
        pytest.param("add_a_method", marks=pytest.mark.slow),
        pytest.param("cost_against_quality", marks=pytest.mark.slow),
    ],
)
def test_executed_again_it_says_the_same(name: str) -> None:
    before, after = read(name), execute(name)
    for old, new in zip(outputs(before), outputs(after), strict=True):
        assert [text_of(output) for output in new] == [text_of(output) for output in old]

    # fonts and drawing libraries may move a pixel, not the picture
    sizes = [
        [Image.open(io.BytesIO(picture)).size for picture in pictures(notebook)]
        for notebook in (before, after)
    ]
    assert sizes[0] == sizes[1]
