"""Another default dtype changes nothing: every tensor that is made names its own."""

import ast
from pathlib import Path

import pytest
import torch

import transprune
from families.cases import FAMILIES
from methods.cases import CASES
from transprune import prune

SOURCE = Path(transprune.__file__).parent
FOLDERS = ["algebra", "core", "families", "methods", "runtime"]
MAKERS = {"zeros", "ones", "empty", "full", "tensor", "arange", "linspace", "eye", "rand", "randn"}
WHOLE = {"arange"}  # of whole numbers, whatever the default


@pytest.fixture(params=[torch.bfloat16, torch.float64], ids=str)
def default(request):
    """Set while a prompt runs; a server that loads in bfloat16 often leaves it so."""
    return request.param


@torch.no_grad()
def run(model, inputs, method, dtype):
    torch.set_default_dtype(dtype)
    try:
        with prune(model, method, record=("scores", "transitions", "changes")) as session:
            logits = model(**inputs).logits
    finally:
        torch.set_default_dtype(torch.float32)
    return logits, session.trace.to_json()


@pytest.mark.parametrize("name", CASES)
def test_every_method_is_the_same(zoo, family, default, name):
    if family in CASES[name].refuses:
        pytest.skip(CASES[name].refuses[family])
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch(FAMILIES[family].ragged())
    method = CASES[name].method
    expected, trace = run(model, inputs, method, torch.float32)
    logits, other = run(model, inputs, method, default)
    assert torch.equal(logits, expected)
    assert other == trace


def _calls(folder):
    for path in sorted((SOURCE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield path, node


@pytest.mark.parametrize("folder", FOLDERS)
def test_new_tensors_name_their_dtype(folder):
    """`torch.zeros(n)` has the default dtype; `x.new_zeros(n)` has that of x."""
    bare = []
    for path, call in _calls(folder):
        owner = call.func.value
        makes = isinstance(owner, ast.Name) and owner.id == "torch"
        if makes and call.func.attr in MAKERS - WHOLE:
            given = {keyword.arg for keyword in call.keywords}
            if "dtype" not in given:
                bare.append(f"{path.name}:{call.lineno}")
    assert not bare
