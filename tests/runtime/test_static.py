"""Static decoding gives the tokens of the dynamic cache, in buffers as short as the pruned prompts."""

import copy

import pytest
import torch
from transformers import DynamicCache, StaticCache

from families.cases import FAMILIES, LAYERS, WINDOWED, build, greedy
from methods.cases import CASES
from runtime.waits import counted_waits
from transprune import FastV, TransPrune, VisionZip, prune
from transprune.core.library import cache_argument, cache_of_output
from transprune.errors import CacheError, LayoutError, MethodError, PruneWarning
from transprune.runtime import passes
from transprune.runtime.static.layers import StaticKeptLayer

METHODS = {
    "transprune": TransPrune({2: 0.6, 5: 0.3}),
    "fastv": FastV(layer=3),
    "visionzip": VisionZip(8),
}
METHOD = METHODS["transprune"]
STEPS = 7
TOLERANCE = 1e-5


def one(case):
    return case.batch(case.even()[:1])


def ragged(case):
    return case.batch(case.ragged())


def generate(model, inputs, **options):
    torch.manual_seed(1)
    return greedy(model, inputs, steps=STEPS, **options)


def assert_same(static, dynamic):
    assert torch.equal(static.sequences, dynamic.sequences)
    for a, b in zip(static.logits, dynamic.logits, strict=True):
        torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=0)


def static_cache(model, length):
    return StaticCache(config=model.config.get_text_config(), max_cache_len=length)


# ---------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize("samples", [one, ragged], ids=lambda f: f.__name__)
@pytest.mark.parametrize("sampling", [False, True], ids=["greedy", "sampling"])
@pytest.mark.parametrize("method", METHODS)
def test_tokens_of_the_dynamic_cache(model, family, method, sampling, samples):
    inputs = samples(FAMILIES[family])
    with prune(model, METHODS[method]) as session:
        dynamic = generate(model, inputs, do_sample=sampling)
        kept = session.trace.kv_lengths
        static = generate(model, inputs, do_sample=sampling, cache_implementation="static")
        assert session.trace.kv_lengths == kept
    assert_same(static, dynamic)

    # the pruned prompt, and the room that generate left behind the unpruned one
    layers = cache_of_output(static).layers
    buffers = [layer.keys.shape[2] for layer in layers]
    room = layers[0].max_cache_len - inputs["input_ids"].shape[1]
    assert room >= STEPS - 1
    if kept[0] == inputs["input_ids"].shape[1]:  # nothing to save in the layers in front
        buffers = buffers[-1:]
        kept = kept[-1:]
    assert buffers == [entries + room for entries in kept]


@pytest.mark.parametrize("name", sorted(set(CASES) - set(METHODS)))
def test_every_method(zoo, name):
    """Merged tokens with biases, frozen layers, several parts: all end in the same buffers."""
    model = zoo("llava", "sdpa")
    inputs = ragged(FAMILIES["llava"])
    with prune(model, CASES[name].method):
        dynamic = generate(model, inputs)
        assert_same(generate(model, inputs, cache_implementation="static"), dynamic)


@pytest.mark.parametrize(
    "options",
    [{"num_beams": 3}, {"num_return_sequences": 2, "do_sample": True}],
    ids=["beams", "several sequences"],
)
def test_more_than_one_answer(model, family, options):
    inputs = ragged(FAMILIES[family])
    with prune(model, METHOD):
        dynamic = generate(model, inputs, **options)
        static = generate(model, inputs, **options, cache_implementation="static")
    assert torch.equal(static.sequences, dynamic.sequences)


@pytest.mark.parametrize("again", [False, True], ids=["new", "reset"])
def test_a_cache_of_the_user(model, family, again):
    inputs = one(FAMILIES[family])
    with prune(model, METHOD):
        dynamic = generate(model, inputs)
        cache = static_cache(model, 150)
        if again:
            generate(
                model, ragged(FAMILIES[family]), **cache_argument(model, static_cache(model, 150))
            )
            generate(model, inputs, **cache_argument(model, cache))
            cache.reset()
        assert_same(generate(model, inputs, **cache_argument(model, cache)), dynamic)


def test_a_later_turn_of_text(model, family):
    case = FAMILIES[family]
    turns = []
    with prune(model, METHOD):
        for cache in (
            static_cache(model, 150),
            DynamicCache(config=model.config.get_text_config()),
        ):
            given = cache_argument(model, cache)
            first = generate(model, one(case), **given)
            ids = torch.cat([first.sequences, torch.tensor([[11, 12, 13]])], dim=1)
            turns.append(generate(model, case.text_turn(ids), **given))
    assert_same(*turns)


def test_samples_change_places(zoo):
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    logits = []
    with prune(model, METHOD), torch.no_grad():
        for cache in (
            static_cache(model, 150),
            DynamicCache(config=model.config.get_text_config()),
        ):
            given = cache_argument(model, cache)
            first = generate(model, case.batch(case.level()), **given)
            cache.reorder_cache(torch.tensor([1, 0]))
            ids = torch.cat([first.sequences.flip(0), torch.tensor([[11], [12]])], dim=1)
            logits.append(generate(model, case.text_turn(ids), **given))
    assert_same(*logits)


def test_without_an_image_and_with_both(model, family):
    case = FAMILIES[family]
    text = case.batch([case.sample([], [7]), case.sample([], [4], seed=1)])
    mixed = case.batch([case.even()[0], case.sample([], [5], seed=3)])
    plain = generate(model, text, cache_implementation="static")
    with prune(model, METHOD) as session:
        dynamic = generate(model, mixed)
        assert_same(generate(model, mixed, cache_implementation="static"), dynamic)
        assert session.trace.visual_tokens[1] == 0
    with prune(model, METHOD) as session:
        assert_same(generate(model, text, cache_implementation="static"), plain)
        assert any("no image" in note for note in session.trace.notes)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_steps_wait_for_nothing(zoo, family, method, monkeypatch):
    monkeypatch.setattr(passes, "is_free", lambda device: False)  # count as on a GPU
    model, inputs = zoo(family, "sdpa"), ragged(FAMILIES[family])
    options = {"cache_implementation": "static"}
    with prune(model, METHODS[method]):
        greedy(model, inputs, steps=1, **options)
        with counted_waits() as first:
            greedy(model, inputs, steps=1, **options)
        with counted_waits() as four:
            greedy(model, inputs, steps=4, **options)
    assert four.total == first.total, str(four)
    assert first.total <= 2, str(first)


# ---------------------------------------------------------------------------------- the option, compiled


def test_the_option_of_prune(model, family):
    inputs = ragged(FAMILIES[family])
    settings = model.generation_config
    with prune(model, METHOD):
        dynamic = generate(model, inputs)
    with prune(model, METHOD, decode="static"):
        static = generate(model, inputs)
    assert_same(static, dynamic)
    assert isinstance(cache_of_output(static), StaticCache)
    assert settings.cache_implementation is None
    assert "forward" not in vars(model.get_decoder())


def graphs(monkeypatch):
    """Counts the graphs of decode steps that dynamo hands to its backend from now on."""
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("aot_eager")
    real = torch.compile

    def compile_counted(function, **options):
        if function.__name__ == "step":
            options["backend"] = counter
        return real(function, **options)

    monkeypatch.setattr(torch, "compile", compile_counted)
    return counter


@pytest.mark.parametrize("samples", [one, ragged], ids=lambda f: f.__name__)
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_one_graph_for_all_steps(zoo, family, samples, monkeypatch):
    """`fullgraph=True` raises where there would be two; nothing is compiled again."""
    model = zoo(family, "sdpa")
    inputs = samples(FAMILIES[family])
    with prune(model, METHOD):
        dynamic = generate(model, inputs)
    counter = graphs(monkeypatch)
    session = prune(model, METHOD, decode="static", compile="aot_eager")
    for _ in range(2):
        with session:
            assert_same(generate(model, inputs), dynamic)
            assert_same(generate(model, inputs), dynamic)
    assert counter.frame_count == 1


def test_shorter_prompts_share_the_graph(zoo, monkeypatch):
    """Buffers of later prompts are no smaller, so their shapes are the same."""
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    long, short = case.sample([0], [3, 9]), case.sample([1], [2, 4])
    counter = graphs(monkeypatch)
    with prune(model, METHOD, decode="static", compile="aot_eager"):
        compiled = [generate(model, case.batch([sample])) for sample in (long, short)]
    with prune(model, METHOD):
        for sample, run in zip((long, short), compiled, strict=True):
            assert_same(run, generate(model, case.batch([sample])))
    assert counter.frame_count <= 2  # the second one knows entries behind the shorter mask


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("samples", [one, ragged], ids=lambda f: f.__name__)
def test_inductor(zoo, family, samples):
    model = zoo(family, "sdpa")
    inputs = samples(FAMILIES[family])
    with prune(model, METHOD):
        dynamic = generate(model, inputs)
    with prune(model, METHOD, decode="static", compile=True):
        assert_same(generate(model, inputs), dynamic)


def test_too_many_shapes_run_eagerly_with_a_warning(zoo):
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    batches = [case.batch([case.even()[0]] * n) for n in (1, 2)]
    with (
        prune(model, METHOD, decode="static", compile="eager"),
        torch._dynamo.config.patch(recompile_limit=1),
    ):
        generate(model, batches[0])
        with pytest.warns(PruneWarning, match="recompile_limit"):
            static = generate(model, batches[1])
    with prune(model, METHOD):
        assert_same(static, generate(model, batches[1]))


def test_a_copy_of_a_model_in_a_session(zoo):
    """It is not pruned, runs its own weights, and nothing of it was compiled."""
    model, inputs = zoo.fresh("llava", "sdpa"), one(FAMILIES["llava"])
    plain = generate(model, inputs)
    with prune(model, METHOD, decode="static", compile="eager"):
        copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert_same(generate(copied, inputs), plain)


# torch's compiler imports what torch deprecates, if no test before this one did
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_compiler_that_fails(zoo, monkeypatch):
    """The answer is the same, with a warning."""

    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    model, inputs = zoo("llava", "sdpa"), one(FAMILIES["llava"])
    real = torch.compile

    def compile_broken(function, **options):
        if function.__name__ == "step":
            options["backend"] = broken
        return real(function, **options)

    monkeypatch.setattr(torch, "compile", compile_broken)
    with prune(model, METHOD, decode="static", compile="eager"):
        with pytest.warns(PruneWarning, match="no compiler here"):
            static = generate(model, inputs)
        again = generate(model, inputs)  # is not tried a second time
    with prune(model, METHOD):
        dynamic = generate(model, inputs)
    assert_same(static, dynamic)
    assert_same(again, dynamic)


def test_recorded_states_of_a_compiled_run(zoo):
    model, inputs = zoo("llava", "eager"), one(FAMILIES["llava"])
    wanted = {"output_hidden_states": True, "output_attentions": True}
    with prune(model, METHOD):
        dynamic = generate(model, inputs, **wanted)
    with prune(model, METHOD, decode="static", compile="eager"):
        static = generate(model, inputs, **wanted)
    assert_same(static, dynamic)
    for a, b in zip(static.hidden_states[1:], dynamic.hidden_states[1:], strict=True):
        assert len(a) == LAYERS + 1
        torch.testing.assert_close(torch.stack(a), torch.stack(b), atol=1e-4, rtol=0)


# -------------------------------------------------------------------------------------------- refusals


def test_a_cache_without_the_room(model, family):
    inputs = one(FAMILIES[family])
    length = inputs["input_ids"].shape[1]
    with prune(model, METHOD):
        for room, message in ((length - 1, "the prompt has"), (length + 2, "are taken")):
            with pytest.raises(CacheError, match=message):
                generate(model, inputs, **cache_argument(model, static_cache(model, room)))
        dynamic = generate(model, inputs)
        exact = static_cache(model, length + STEPS - 1)
        assert_same(generate(model, inputs, **cache_argument(model, exact)), dynamic)


def test_a_later_turn_with_an_image(model, family):
    inputs = one(FAMILIES[family])
    given = cache_argument(model, static_cache(model, 200))
    with prune(model, METHOD), torch.no_grad():
        generate(model, inputs, **given)
        with pytest.raises(CacheError, match="earlier turn"):
            model(**inputs, **given)


def test_two_samples_in_a_row(zoo):
    """A mask of the user's own that hides the first one from the last token."""
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    inputs = one(case)
    length = inputs["input_ids"].shape[1]
    mask = torch.ones(length, 60).tril().bool()[None, None]
    mask[..., length // 2 :, : length // 2] = False
    given = cache_argument(model, static_cache(model, 60))
    with prune(model, METHOD), torch.no_grad(), pytest.raises(LayoutError, match="several samples"):
        model(**{**inputs, "attention_mask": mask}, **given)


def test_outside_a_session(model, family):
    cache = static_cache(model, 150)
    given = cache_argument(model, cache)
    with prune(model, METHOD):
        generate(model, one(FAMILIES[family]), **given)
    before = cache.layers[0].keys.clone()
    with torch.no_grad(), pytest.raises(CacheError, match="attach the session"):
        model(input_ids=torch.tensor([[11]]), **given)
    assert torch.equal(cache.layers[0].keys, before)


def test_cutting_and_repeating(zoo):
    model, cache = zoo("llava", "sdpa"), static_cache(zoo("llava", "sdpa"), 150)
    with prune(model, METHOD):
        generate(model, one(FAMILIES["llava"]), **cache_argument(model, cache))
    assert isinstance(cache.layers[0], StaticKeptLayer)
    for change in (cache.crop, cache.batch_repeat_interleave):
        with pytest.raises(CacheError, match="cannot be cut"):
            change(-1)


def test_sliding_windows(zoo):
    model = build(WINDOWED).eval()
    with prune(model, METHOD), pytest.raises(CacheError, match="StaticSlidingWindowLayer"):
        generate(model, one(WINDOWED), cache_implementation="static")


@pytest.mark.parametrize("backend", ["indctor", 3], ids=str)
def test_an_unknown_backend(zoo, backend):
    with pytest.raises(MethodError, match="inductor"):
        prune(zoo("llava"), METHOD, decode="static", compile=backend)


def test_an_unknown_way_to_decode(zoo):
    with pytest.raises(MethodError, match="'dynamic' or 'static'"):
        prune(zoo("llava"), METHOD, decode="statik")


def test_a_model_that_does_not_generate(zoo):
    model = zoo("llava").model
    with pytest.raises(MethodError, match="generation_config"):
        prune(model, METHOD, decode="static").attach()
    assert not prune(model, METHOD).attached
