"""A model compiled before `prune`, or inside a session, is pruned like any other, and is itself afterwards."""

import warnings

import pytest
import torch

from families.cases import FAMILIES, greedy
from transprune import Compose, FastV, TransPrune, VisionZip, prune
from transprune.errors import PruneWarning

# reads attention of both sides of a layer, transitions and the tower
METHOD = Compose([VisionZip(0.8), FastV(layer=2, keep_ratio=0.7), TransPrune({3: 0.8, 5: 0.4})])


def _compile(function):
    return torch.compile(function, backend="eager")


def whole(model):
    model.compile(backend="eager")
    return model


def forward(model):
    model.forward = _compile(model.forward)
    return model


def wrapped(model):
    return _compile(model)


def language_model(model):
    model.model.language_model.compile(backend="eager")
    return model


def language_model_wrapped(model):
    model.model.language_model = _compile(model.model.language_model)
    return model


def layers(model):
    for layer in model.model.language_model.layers:
        layer.compile(backend="eager")
    return model


def layers_wrapped(model):
    stack = model.model.language_model.layers
    for index, layer in enumerate(stack):
        stack[index] = _compile(layer)
    return model


def modules_of_layers(model):
    for layer in model.model.language_model.layers:
        layer.self_attn.compile(backend="eager")
        layer.mlp.compile(backend="eager")
    return model


PLACES = [
    whole,
    forward,
    wrapped,
    language_model,
    language_model_wrapped,
    layers,
    layers_wrapped,
    modules_of_layers,
]


@pytest.fixture(autouse=True)
def no_compiled_code_is_left():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def name():
    return "llava"  # tracing takes seconds, and what is tested knows no family


@pytest.fixture
def inputs(name):
    return FAMILIES[name].batch(FAMILIES[name].ragged())


@torch.no_grad()
def pruned(model, inputs):
    with prune(model, METHOD) as session:
        logits = model(**inputs).logits
    return logits, session.trace


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_compiled_before(zoo, name, inputs, place):
    expected, _ = pruned(zoo(name, "sdpa"), inputs)
    model = place(zoo.fresh(name, "sdpa"))
    with torch.no_grad():
        plain = model(**inputs).logits  # the warm-up, which compiles

    with pytest.warns(PruneWarning, match="was compiled"):
        logits, trace = pruned(model, inputs)

    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert any("compiled" in note for note in trace.notes)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, plain)


def test_compiled_inside(zoo, name, inputs):
    """Code that is compiled inside a session must not prune after it."""
    expected, _ = pruned(zoo(name, "sdpa"), inputs)
    plain = zoo(name, "sdpa")(**inputs).logits
    model = zoo.fresh(name, "sdpa")
    with torch.no_grad():
        with prune(model, METHOD):
            model.model.language_model.compile(backend="eager")
            logits = model(**inputs).logits
        after = model(**inputs).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(after, plain, atol=1e-5, rtol=0)


def test_a_function_around_the_model(zoo, name, inputs):
    """Nothing of the model shows that somebody compiled its caller."""
    expected, _ = pruned(zoo(name, "sdpa"), inputs)
    model = zoo.fresh(name, "sdpa")
    step = _compile(lambda: model(**inputs).logits)
    with torch.no_grad():
        step()
        with prune(model, METHOD):
            torch.testing.assert_close(step(), expected, atol=1e-5, rtol=0)


def test_two_sessions_share_the_stance(zoo, name, inputs):
    """The first to be left must not bring compiled code back under the second."""
    expected, _ = pruned(zoo(name, "sdpa"), inputs)
    first, second = zoo.fresh(name, "sdpa"), layers(zoo.fresh(name, "sdpa"))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", PruneWarning)
        second(**inputs)
        outer = prune(first, METHOD).attach()
        with prune(second, METHOD):
            outer.detach()
            torch.testing.assert_close(second(**inputs).logits, expected, atol=1e-5, rtol=0)


def test_generate_with_a_compiled_forward(zoo, name, inputs):
    plain = zoo(name, "sdpa")
    with prune(plain, METHOD):
        expected = greedy(plain, inputs, steps=3)
    model = forward(zoo.fresh(name, "sdpa"))
    with torch.no_grad():
        model(**inputs)
    with pytest.warns(PruneWarning, match="was compiled"), prune(model, METHOD):
        assert torch.equal(greedy(model, inputs, steps=3).sequences, expected.sequences)


def test_an_uncompiled_model_gets_no_warning(zoo, name, inputs):
    _, trace = pruned(zoo(name, "sdpa"), inputs)
    assert not any("compiled" in note for note in trace.notes)
