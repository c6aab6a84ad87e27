"""Arguments and calls that cannot be right: our error, in one sentence that names the argument, and nothing changed."""

import json
from contextlib import nullcontext

import pytest
import torch

from families.cases import FAMILIES, IMAGE, greedy
from methods.cases import METHODS
from transprune import FastV, TransPrune, VisionZip, prune
from transprune.core.library import cache_argument, cache_of_output
from transprune.errors import (
    CacheError,
    LayoutError,
    MethodError,
    MissingSignal,
    PruneError,
    PruneWarning,
    SessionError,
    UnknownFamily,
)
from transprune.methods import SparseVLM

METHOD = FastV(layer=2)


@pytest.fixture(params=["llava", "qwen2_5_vl"])
def family(request):
    return request.param


@pytest.fixture
def model(zoo, family):
    return zoo(family, "sdpa")


@pytest.fixture
def inputs(family):
    return FAMILIES[family].batch(FAMILIES[family].even()[:1])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"record": None}, "record"),
        ({"record": 5}, "record"),
        ({"record": [1]}, "record"),
        ({"record": [["scores"]]}, "record"),
        ({"positions": 5}, "positions"),
        ({"positions": []}, "positions"),
        ({"pool": None}, "pool"),
        ({"pool": []}, "pool"),
    ],
    ids=str,
)
def test_options_of_prune(model, options, named):
    with pytest.raises(MethodError, match=named):
        prune(model, METHOD, **options)


def test_a_text_tower_of_another_kind(zoo):
    with pytest.raises(MethodError, match="text_tower"):
        prune(zoo("llava", "sdpa"), "cdpruner", text_tower=5)


@pytest.mark.parametrize("method", [None, 5, FastV, b"fastv", ["fastv"], {"name": "fastv"}])
def test_things_that_are_no_method(model, method):
    with pytest.raises(MethodError):
        prune(model, method)


@pytest.mark.parametrize(
    "thing", [None, "nano", torch.nn.Linear(2, 2), torch.nn.DataParallel(torch.nn.Linear(2, 2))]
)
def test_things_that_are_no_model(thing):
    with pytest.raises(UnknownFamily, match="vision-language model"):
        prune(thing, METHOD)


MASKS = {
    "short": lambda length: torch.ones(1, length - 5).long(),
    "long": lambda length: torch.ones(1, length + 5).long(),
    "of two samples": lambda length: torch.ones(2, length).long(),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_another_size(model, inputs, kind):
    mask = MASKS[kind](inputs["input_ids"].shape[1])
    with prune(model, METHOD), pytest.raises(LayoutError, match="attention_mask"):
        model(**{**inputs, "attention_mask": mask})


SQUARES = {
    "of more keys": lambda length: torch.ones(1, 1, length, length + 1).bool(),
    "of fewer rows": lambda length: torch.ones(1, 1, length - 1, length).bool(),
    "of whole numbers": lambda length: torch.ones(1, 1, length, length).int(),
    "of three dimensions": lambda length: torch.ones(1, length, length).bool(),
}


@pytest.mark.parametrize("kind", SQUARES)
def test_square_masks_of_another_size(model, inputs, kind):
    mask = SQUARES[kind](inputs["input_ids"].shape[1])
    with prune(model, METHOD), pytest.raises(LayoutError, match="attention_mask"):
        model(**{**inputs, "attention_mask": mask})


def test_a_square_mask_for_all_rows_alike(zoo):
    """[B, 1, 1, L]: unpruned models broadcast it."""
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    inputs = case.batch(case.even()[:1])
    length = inputs["input_ids"].shape[1]
    one = torch.ones(1, 1, 1, length).bool()
    with torch.no_grad(), prune(model, METHOD):
        alike = model(**{**inputs, "attention_mask": one}).logits
        full = model(**{**inputs, "attention_mask": one.expand(1, 1, length, length)}).logits
    assert torch.equal(alike, full)


@pytest.mark.parametrize("place", ["decoder layer", "tower"])
def test_an_interrupted_forward_leaves_nothing(model, family, inputs, place):
    """Ctrl-C in a notebook: torch ends no hook after it, as it does after errors."""

    def interrupt(module, args):
        raise KeyboardInterrupt

    with torch.no_grad():
        plain = model(**inputs).logits
        before = [len(module._forward_pre_hooks) for module in model.modules()]
        with prune(model, METHOD):
            expected = model(**inputs).logits

        where = model.get_decoder().layers[4]
        if place == "tower":
            where = next(m for name, m in model.named_modules() if name.endswith("1.mlp"))
        handle = where.register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt), prune(model, METHOD) as session:
            model(**inputs)
        handle.remove()

        assert not session.attached
        assert [len(module._forward_pre_hooks) for module in model.modules()] == before
        assert torch.equal(model(**inputs).logits, plain)
        with session:
            assert torch.equal(model(**inputs).logits, expected)


def test_detaching_inside_a_forward(model, inputs):
    session = prune(model, METHOD)
    last = model.get_decoder().layers[-1]
    handle = last.register_forward_pre_hook(lambda module, args: session.detach())
    try:
        with session, pytest.raises(SessionError, match="inside a forward"):
            model(**inputs)
    finally:
        handle.remove()
    assert not session.attached


@pytest.mark.parametrize("change", [lambda i: i[0], lambda i: i[None], lambda i: i.float(), list])
def test_ids_of_another_shape(model, inputs, change):
    with prune(model, METHOD), pytest.raises(LayoutError, match="input_ids"):
        model(**{**inputs, "input_ids": change(inputs["input_ids"])})


def test_no_pictures_in_the_pixels(model, inputs):
    empty = {}
    for name in ("pixel_values", "image_grid_thw"):
        if name in inputs:
            empty[name] = inputs[name][:0]
    with prune(model, METHOD), pytest.raises(LayoutError, match="empty"):
        model(**{**inputs, **empty})


def test_pictures_of_an_earlier_turn(model, family, inputs):
    """As a processor run over the whole conversation returns them."""
    with prune(model, METHOD):
        first = greedy(model, inputs, steps=3)
        turn = FAMILIES[family].text_turn(torch.cat([first.sequences, first.sequences[:, :2]], 1))
        for name in ("pixel_values", "image_grid_thw"):
            if name in inputs:
                turn[name] = inputs[name]
        with pytest.raises(LayoutError, match="in the cache already"):
            greedy(model, turn, **cache_argument(model, cache_of_output(first)))


def test_a_call_that_was_refused_leaves_no_trace_of_itself(model, inputs):
    with torch.no_grad():
        expected = model(**inputs).logits
        with prune(model, METHOD):
            wanted = model(**inputs).logits
            with pytest.raises(PruneError):
                model(**{**inputs, "attention_mask": torch.ones(1, 2).long()})
            assert torch.equal(model(**inputs).logits, wanted)
        assert torch.equal(model(**inputs).logits, expected)


@pytest.mark.parametrize("method", [VisionZip(0.5), TransPrune({2: 0.6})], ids=lambda m: m.name)
def test_traces_are_strict_json(zoo, method):
    """Newline tokens have no patch, so no score; poisoned pictures have none anywhere."""
    case = FAMILIES["llava_next"]
    inputs = case.batch([case.sample([0, 1], [3, 2, 6])])
    model = zoo("llava_next", "sdpa")
    with torch.no_grad(), prune(model, method, record=("scores", "transitions")) as session:
        model(**inputs)
    data = json.loads(session.trace.to_json(), parse_constant=pytest.fail)
    scores = data["stages"][0]["scores"]["score"][0]
    assert len(scores) == int((inputs["input_ids"] == IMAGE).sum())
    assert (None in scores) == (method.name == "visionzip")


@pytest.mark.parametrize("cache", [[], "cache", 5, torch.zeros(1)], ids=repr)
def test_things_that_are_no_cache(model, inputs, cache):
    with prune(model, METHOD), pytest.raises(CacheError, match="DynamicCache"):
        model(**inputs, **cache_argument(model, cache))


def test_sizes_that_are_no_tensor(zoo):
    model, case = zoo("qwen2_5_vl", "sdpa"), FAMILIES["qwen2_5_vl"]
    inputs = case.batch(case.even()[:1])
    with prune(model, METHOD), pytest.raises(LayoutError, match="image inputs"):
        model(**{**inputs, "image_grid_thw": 5})


def test_a_mask_that_hides_a_part_of_a_picture(zoo):
    """Whoever needs whole pictures says so; all others go on with what is there."""
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    inputs = case.batch(case.even()[:1])
    slots = (inputs["input_ids"][0] == IMAGE).nonzero().flatten()
    inputs["attention_mask"][0, slots[[5, 15]]] = 0
    for name, method in METHODS.items():
        with torch.no_grad(), prune(model, method.method) as session:
            if name == "downsample":
                with pytest.raises(MissingSignal, match="hides a part"):
                    model(**inputs)
                continue
            model(**inputs)
        assert session.trace.visual_tokens == (14,)


def test_a_model_called_inside_its_own_forward(model, inputs):
    """By a hook of the user's; both calls are pruned as they would be alone."""
    words = {"input_ids": torch.arange(5, 12)[None]}
    answers = []

    def ask(module, args, kwargs):
        if not answers:
            answers.append(None)
            answers.append(model(**words).logits)

    with torch.no_grad():
        alone = model(**words).logits
        with prune(model, METHOD) as session:
            expected = model(**inputs).logits
            for place in (model.get_decoder(), model.get_decoder().layers[4]):
                answers.clear()
                handle = place.register_forward_pre_hook(ask, with_kwargs=True)
                try:
                    logits = model(**inputs).logits
                finally:
                    handle.remove()
                assert torch.equal(logits, expected)
                torch.testing.assert_close(answers[1], alone)
                assert session.trace.stages


@pytest.mark.parametrize("name", METHODS)
def test_generating_without_a_cache(zoo, family, name):
    """Every step prunes anew, with features that were encoded once."""
    case = METHODS[name]
    if family in case.refuses:
        pytest.skip(case.refuses[family])
    inputs = FAMILIES[family].batch(FAMILIES[family].even()[:1])
    model = zoo(family, "sdpa")
    told = pytest.warns(PruneWarning, match="nothing was evicted") if case.evicts else nullcontext()
    with prune(model, case.method) as session, told:
        greedy(model, inputs, steps=3, use_cache=False)
    assert session.trace.stages or not case.drops


def test_poisoned_features_and_a_rank(zoo):
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    inputs = case.batch(case.even()[:1])
    inputs["pixel_values"] = torch.full_like(inputs["pixel_values"], float("nan"))
    method = SparseVLM(budget="rank")
    with torch.no_grad(), prune(model, method), pytest.warns(PruneWarning, match="not finite"):
        model(**inputs)
