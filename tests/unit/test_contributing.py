"""The examples of CONTRIBUTING are real: they are taken from the page and run."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import transprune
from transprune import Compose, Schedule, TransPrune, prune
from transprune.core.signals import Reads
from transprune.methods.common.method import LayerPruner
from transprune.methods.common.recipe import METHODS
from transprune.runtime import engine

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
PACKAGE = Path(transprune.__file__).parent


def block(path: str) -> str:
    """The code block under the given file name."""
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"`{re.escape(path)}`\n\n```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found.group(1)


def example(path: str) -> dict[str, object]:
    """Run the code block under the given file name; what it defines."""
    module = ModuleType("contributing_example")
    sys.modules[module.__name__] = module  # dataclasses look their annotations up there
    exec(compile(block(path), path, "exec"), module.__dict__)
    return module.__dict__


@dataclass(frozen=True)
class ByEntryNorm(LayerPruner):
    """Keeps the tokens that entered with the largest norm."""

    name: ClassVar[str] = "by_entry_norm"
    reads: ClassVar[Reads] = Reads(signals=("entry_norm",))

    def schedule(self, num_layers):
        return Schedule({2: 0.5, 4: 0.25})

    def score(self, view, carry):
        return {"score": view.read("entry_norm")}


@pytest.fixture(scope="module")
def nano():
    """The bundled model and one prompt for it."""
    model = AutoModelForImageTextToText.from_pretrained(
        transprune.nano.path(), dtype=torch.float32
    ).eval()
    processor = AutoProcessor.from_pretrained(transprune.nano.path())

    image = Image.effect_noise((96, 96), 60).convert("RGB")
    prompt = "USER: <image>\nwhat color is the circle? ASSISTANT:"
    return model, processor(images=image, text=prompt, return_tensors="pt")


@pytest.fixture(autouse=True)
def _leave_no_trace():
    yield
    # the examples register themselves, and other tests count what is registered
    sys.modules.pop("contributing_example", None)
    METHODS._classes.pop("unusual", None)


def test_the_method_works_by_name_alone_and_composed(nano):
    model, inputs = nano
    unusual = example("src/transprune/methods/unusual.py")["Unusual"]

    with torch.no_grad():
        unpruned = model(**inputs).logits
        for method, kept in ((unusual(0.25), 36), ("unusual:keep=0.25", 36), (unusual(1.0), 144)):
            with prune(model, method) as session:
                logits = model(**inputs).logits
            assert len(session.trace.stages[0].keep[0]) == kept
            assert torch.equal(logits, unpruned) == (kept == 144)  # 144 tokens are all

        with prune(model, Compose([unusual(0.5), TransPrune.low()])) as session:
            model(**inputs)
    assert [len(stage.keep[0]) for stage in session.trace.stages] == [72, 45, 13, 4]


def test_the_family_is_the_one_that_is_shipped():
    """What it computes is tested with all other families (`tests/families`)."""
    path = "src/transprune/families/cohere2_vision.py"
    assert block(path) == (PACKAGE.parents[1] / path).read_text(encoding="utf-8")


def test_the_tap_offers_its_signal_also_behind_a_first_stage(nano, monkeypatch):
    model, inputs = nano
    tap = example("src/transprune/runtime/taps/entry_norm.py")["EntryNormTap"]
    monkeypatch.setattr(engine, "TAPS", (*engine.TAPS, tap))

    # what the tap should have measured, captured by a hook of the test's own
    entered = []
    layer = model.model.language_model.layers[0]
    handle = layer.register_forward_pre_hook(lambda module, args: entered.append(args[0]))
    try:
        with torch.no_grad(), prune(model, ByEntryNorm()) as session:
            model(**inputs)
    finally:
        handle.remove()

    visual = inputs["input_ids"][0] == model.config.image_token_id
    norms = entered[0][0].norm(dim=-1)[visual]
    # the second stage reads norms that followed the rows through the first
    for stage, count in zip(session.trace.stages, (72, 36), strict=True):
        expected = norms.topk(count).indices.sort().values
        assert stage.keep[0].tolist() == expected.tolist()


def test_the_tree_names_folders_that_exist():
    page = PAGE.read_text(encoding="utf-8")
    tree = page.split("src/transprune/\n")[1].split("```")[0]
    folders = re.findall(r"^  ([a-z_]+)/ ", tree, re.MULTILINE)

    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(folders) == packages


def test_the_page_has_the_order_of_imports():
    page = PAGE.read_text(encoding="utf-8")
    face = (Path(__file__).parent / "test_public_face.py").read_text(encoding="utf-8")
    order = re.findall(r'"(\w+)"', face.split("ORDER = (")[1].split(")")[0])
    assert ", ".join(order) in page.replace("\n", " ")
