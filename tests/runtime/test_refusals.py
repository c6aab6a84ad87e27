"""What cannot be right is refused with a typed error before anything is changed, or said in a warning and a note."""

import copy

import pytest
import torch
import transformers
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache, QuantizedCache, StaticCache
from transformers.cache_utils import DynamicLayer

from families.cases import FAMILIES, IMAGE, Sample, greedy
from reference import TOLERANCE, reference
from transprune import DivPrune, FastV, PDrop, TransPrune, Uniform, VisionZip, prune
from transprune.core.library import cache_argument, cache_of_output
from transprune.errors import (
    CacheError,
    LayoutError,
    MethodError,
    MissingSignal,
    PositionsError,
    PruneWarning,
    ScheduleError,
    UnknownFamily,
)

METHOD = TransPrune({2: 0.6, 5: 0.3})


@pytest.fixture
def case(family):
    return FAMILIES[family]


@pytest.fixture
def inputs(case):
    return case.batch(case.even()[:1])


@torch.no_grad()
def forward(model, inputs, **options):
    return model(**inputs, **options)


# ---------------------------------------------------------------------------------------------------- caches


def offloaded(cache):
    cache.offloading = True  # the real thing wants a CUDA stream
    return cache


class OwnLayer(DynamicLayer):
    """May store its entries in another way."""


CACHES = {
    "offloaded": lambda config: offloaded(DynamicCache(config=config)),
    "offloaded static": lambda config: offloaded(StaticCache(config=config, max_cache_len=200)),
    "encoder-decoder": lambda config: EncoderDecoderCache(
        DynamicCache(config=config), DynamicCache(config=config)
    ),
    "quantised": lambda config: QuantizedCache("fp8", config),
}


@pytest.mark.parametrize("kind", CACHES)
def test_a_cache_that_cannot_be_pruned_is_refused_untouched(model, inputs, kind):
    try:
        cache = CACHES[kind](model.config.get_text_config())
    except ValueError as error:  # transformers 5.19 to 5.22
        pytest.skip(f"this transformers has no such cache: {error}")
    plain = forward(model, inputs).logits
    with prune(model, METHOD):
        with pytest.raises(CacheError, match="DynamicCache"):
            forward(model, inputs, **cache_argument(model, cache))
        expected = greedy(model, inputs, steps=2)
    assert cache.get_seq_length() == 0
    assert torch.equal(forward(model, inputs).logits, plain)
    assert expected.sequences.shape[1] == inputs["input_ids"].shape[1] + 2


def test_generate_refuses_the_same_caches(model, inputs):
    with prune(model, METHOD), pytest.raises(CacheError):
        greedy(model, inputs, cache_implementation="offloaded")
    greedy(model, inputs, steps=1)


def test_a_refused_cache_is_fine_for_a_prompt_without_an_image(model, case):
    inputs = case.batch([case.sample([], [6])])
    plain = greedy(model, inputs)
    cache = DynamicCache(config=model.config.get_text_config())
    cache.layers = [OwnLayer() for _ in cache.layers]
    given = cache_argument(model, cache)
    with prune(model, METHOD):
        with pytest.raises(CacheError, match="OwnLayer"):
            greedy(model, case.batch(case.even()[:1]), **given)
        text = greedy(model, inputs, **given)
    assert torch.equal(text.sequences, plain.sequences)


def test_cutting_a_cache_inside_its_pruned_part_is_refused(model, inputs):
    with prune(model, Uniform({2: 0.5})):
        cache = cache_of_output(greedy(model, inputs, steps=3))
        before = cache.layers[-1].keys.clone()
        with pytest.raises(CacheError, match="pruned"):
            cache.layers[-1].crop(-20)
    assert torch.equal(cache.layers[-1].keys, before)


# ------------------------------------------------------------------------------------------- prompts and features


def test_features_without_placeholders(model, case, inputs):
    ids = torch.where(inputs["input_ids"] == IMAGE, 7, inputs["input_ids"])
    with prune(model, METHOD), pytest.raises(LayoutError, match="placeholders"):
        forward(model, {**inputs, "input_ids": ids})


def as_embeddings(model, inputs):
    """The same prompt as embeddings, without ids."""
    if hasattr(model.model, "rope_deltas"):
        model.model.rope_deltas = None  # Qwen uses those of its last prompt where ids are missing
    ids = inputs["input_ids"]
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    with torch.no_grad():
        return {**rest, "inputs_embeds": model.get_input_embeddings()(ids)}


def test_embeddings_instead_of_ids(model, inputs):
    with torch.no_grad(), prune(model, METHOD) as session:
        if "mm_token_type_ids" in inputs:  # they say which slots are visual
            model(**as_embeddings(model, inputs))
            assert session.trace.visual_tokens == ((inputs["input_ids"] == IMAGE).sum(),)
            assert len(session.trace.stages) == 2
            return
        with pytest.raises(LayoutError, match="input_ids"):
            model(**as_embeddings(model, inputs))


def test_text_embeddings_alone_run_unpruned_with_a_warning(model, case):
    """Nobody knows whether a picture is among them."""
    inputs = case.batch([case.sample([], [6])])
    plain = forward(model, inputs).logits
    inputs.pop("mm_token_type_ids", None)
    with prune(model, METHOD) as session, pytest.warns(PruneWarning, match="pass input_ids"):
        logits = forward(model, as_embeddings(model, inputs)).logits
    torch.testing.assert_close(logits, plain)
    assert any("could not be found" in note for note in session.trace.notes)


def ends_with_image(case):
    full = case.sample([0], [3, 0])
    end = max(slot for slot, token in enumerate(full.ids) if token == IMAGE)
    return Sample(full.ids[: end + 1], full.images)


def test_nothing_said_after_the_image(model, case):
    """The last token stands in for the instruction, with a warning."""
    inputs = case.batch([ends_with_image(case)])
    with (
        prune(model, METHOD) as session,
        pytest.warns(PruneWarning, match="no instruction after the image"),
    ):
        forward(model, inputs)
    assert any("no instruction" in note for note in session.trace.notes)


@pytest.mark.parametrize(
    "method", [PDrop({2: 0.5}), FastV(layer=2), Uniform({0: 0.1, 3: 0.05})], ids=lambda m: m.name
)
def test_the_last_token_stays_even_if_it_is_visual(zoo, family, model, case, method):
    """Its logits are the answer."""
    sample = ends_with_image(case)
    with prune(model, method, positions="keep") as session:
        logits = forward(model, case.batch([sample])).logits[0, -1]
    keeps = {stage.boundary: stage.keep[0].tolist() for stage in session.trace.stages}
    assert all(keep[-1] == sample.visual_tokens - 1 for keep in keeps.values())
    expected = reference(zoo(family), case.batch([sample]), keeps)[-1]
    torch.testing.assert_close(logits, expected, atol=TOLERANCE, rtol=0)


def test_a_share_below_one_token_keeps_one_and_says_so(model, case, inputs):
    with prune(model, Uniform({2: 0.001})) as session:
        forward(model, inputs)
    assert len(session.trace.stages[0].keep[0]) == 1
    assert any("rounds to 0" in note for note in session.trace.notes)


def test_not_a_number_in_the_hidden_states(model, case, inputs):
    visual = (inputs["input_ids"][0] == IMAGE).nonzero().flatten()

    def poison(module, args, output):
        output = output.clone()
        output[0, visual[2]] = float("nan")
        return output

    kept = []
    handle = model.get_decoder().layers[0].register_forward_hook(poison)
    try:
        for _ in range(2):
            with prune(model, METHOD) as session, pytest.warns(PruneWarning, match="not finite"):
                forward(model, inputs)
            kept.append([stage.keep[0].tolist() for stage in session.trace.stages])
    finally:
        handle.remove()
    assert kept[0] == kept[1]
    assert any("not finite" in note for note in session.trace.notes)


def test_features_encoded_outside_the_session_have_no_saliency(model, case, inputs):
    pixels = {
        key: inputs.pop(key)
        for key in ("pixel_values", "image_sizes", "image_grid_thw")
        if key in inputs
    }
    grid = {"image_grid_thw": pixels["image_grid_thw"]} if "image_grid_thw" in pixels else {}
    with torch.no_grad():
        encoded = model.model.get_image_features(**pixels, return_dict=True)
    with prune(model, VisionZip(0.5)), pytest.raises(MissingSignal, match="outside the session"):
        forward(model, {**inputs, **grid}, mm_encoder_outputs={"image": encoded})
    with prune(model, DivPrune(0.5)) as session:
        forward(model, {**inputs, **grid}, mm_encoder_outputs={"image": encoded})
    assert session.trace.stages


@pytest.mark.parametrize(
    "method", [METHOD, FastV(layer=2), Uniform({2: 0.5}), DivPrune(0.5)], ids=lambda m: m.name
)
def test_a_prefill_in_chunks(model, inputs, method):
    """The instruction comes with the last chunk, the choice is due in the first."""
    plain = greedy(model, inputs, steps=2)
    with prune(model, method), pytest.raises(LayoutError, match="chunk"):
        greedy(model, inputs, steps=2, prefill_chunk_size=10)
    assert torch.equal(greedy(model, inputs, steps=2).sequences, plain.sequences)


def test_placeholders_whose_features_were_left_out(model, case, inputs):
    """Unpruned, such a call reads the embedding of the image id; "no image in the prompt" would be a lie."""
    text = {key: value for key, value in inputs.items() if not key.startswith(("pixel", "image"))}
    with prune(model, METHOD), pytest.raises(LayoutError, match="no image features"):
        forward(model, text)


# ---------------------------------------------------------------------------------------------- models and methods


def test_renumbering_has_no_definition_under_mrope(zoo):
    model = zoo("qwen2_5_vl")
    with pytest.raises(PositionsError, match="M-RoPE"):
        prune(model, METHOD, positions="renumber")
    with pytest.raises(PositionsError, match="M-RoPE"):
        prune(model, TransPrune({2: 0.5}, positions="renumber"))
    assert prune(model, TransPrune({2: 0.5})) is not None  # its own default gives way


@pytest.mark.parametrize(
    "method",
    [Uniform({8: 0.5}), TransPrune({7: 0.875, 9: 0.625}), PDrop({2: 0.5, 12: 0.2}), FastV(layer=8)],
    ids=repr,
)
def test_boundaries_a_model_does_not_have(model, method):
    with pytest.raises(ScheduleError, match="decoder layers"):
        prune(model, method)


def test_models_of_no_known_family():
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    with pytest.raises(UnknownFamily, match="llama"):
        prune(transformers.LlamaForCausalLM(config), METHOD)
    with pytest.raises(UnknownFamily, match="Linear"):
        prune(nn.Linear(2, 2), METHOD)


@pytest.mark.parametrize(
    "options", [{"positions": "shift"}, {"pool": "batch"}, {"record": "everything"}], ids=str
)
def test_options_that_do_not_exist(zoo, options):
    with pytest.raises(MethodError):
        prune(zoo("llava"), METHOD, **options)


def test_a_method_that_returns_nonsense(zoo, family, inputs):
    class Nonsense(Uniform):
        def select(self, view, carry=None):
            selection = super().select(view, carry)
            return type(selection)(selection.keep.flip(0))

    model = zoo(family)
    plain = forward(model, inputs).logits
    with prune(model, Nonsense({2: 0.5})), pytest.raises(MethodError, match="ascending"):
        forward(model, copy.copy(inputs))
    assert torch.equal(forward(model, inputs).logits, plain)
