"""Models of a type that no family lists: recognised by their shape, proven on themselves, or refused."""

from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch
import transformers

from families.cases import FAMILIES, MODELS, build
from families.contract import case_of
from transprune import TransPrune, prune
from transprune.errors import (
    FamilyError,
    LayoutError,
    MissingSignal,
    PruneWarning,
    SessionError,
    UnknownFamily,
)
from transprune.families import generic
from transprune.families.base import find_family
from transprune.families.generic import Generic, GenericMRope, family_of, lacks_in_config

NAMES = [
    "aria",
    "gemma3",
    "gemma4",
    "glm4v",
    "glm4v_moe",
    "idefics3",
    "internvl",
    "llava",
    "llava_next",
    "llava_onevision",
    "mistral3",
    "molmo2",
    "paddleocr_vl",
    "qwen2_vl",
    "smolvlm",
]


@pytest.fixture(autouse=True)
def fresh_memory(monkeypatch):
    """What other tests were warned of does not count."""
    monkeypatch.setattr(generic, "_warned", set())


def unlisted(name):
    """A tiny model whose type nobody knows."""
    model = build(case_of(name)).eval()
    for config in (model.config, model.model.config):
        config.model_type = "unlisted"
    return model


def found(model):
    with pytest.warns(PruneWarning, match="nobody tested transprune with models of type"):
        return find_family(model)


def session_of(model):
    return partial(prune, model, positions="keep")


# ------------------------------------------------------------------------------------------ what is proven


@pytest.mark.parametrize("name", NAMES)
def test_models_of_the_common_shape_are_proven(name):
    model = unlisted(name)
    family = found(model)
    assert type(family) is (Generic if "renumber" in MODELS[name].positions else GenericMRope)
    family.prove(model, session_of(model))
    assert model in generic._proven


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_it_is_proven_in_every_precision(kind):
    model = unlisted("llava").to(kind)
    found(model).prove(model, session_of(model))


@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_it_prunes_as_its_own_family_would(name):
    case = MODELS[name]
    listed = build(case).eval()
    model = unlisted(name)
    inputs = case.batch(case.ragged())
    method = TransPrune({2: 0.6, 5: 0.3})

    with torch.no_grad(), prune(listed, method) as session:
        expected = listed(**inputs).logits
        kept = session.trace.stages[-1].keep
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PruneWarning)
        with torch.no_grad(), prune(model, method) as session:
            assert torch.equal(model(**inputs).logits, expected)
    assert all(map(torch.equal, session.trace.stages[-1].keep, kept))


def test_attaching_a_session_proves_the_model():
    model = unlisted("llava")
    with pytest.warns(PruneWarning, match="nobody tested"):
        session = prune(model, "uniform")
    with session:
        assert model in generic._proven
        with pytest.raises(SessionError, match="being pruned already"):
            prune(model, "fastv").attach()


def test_a_session_of_a_model_that_fails_the_proof_cannot_be_attached():
    model = unlisted("llava")
    look_at_the_prompt(model)
    with pytest.warns(PruneWarning, match="nobody tested"):
        session = prune(model, "uniform")
    for _ in range(2):
        with pytest.raises(UnknownFamily, match="not the same as a prompt without them"):
            session.attach()
    assert not session.attached


def test_the_warning_comes_once_for_a_type():
    model = unlisted("llava")
    found(model)
    assert isinstance(find_family(model), Generic)  # a second warning would fail this test


def test_methods_that_read_the_tower_are_refused_by_what_they_read():
    model = unlisted("llava")
    found(model)
    with pytest.raises(MissingSignal, match=r"vision tower \(keys, saliency\).*such as DivPrune"):
        prune(model, "visionzip:keep=0.5").attach()
    prune(model, "divprune:keep_ratio=0.5").attach().detach()


def test_features_that_do_not_fit_the_placeholders_are_counted():
    model = unlisted("llava")
    found(model)
    case = FAMILIES["llava"]
    inputs = case.batch(case.even()[:1])
    features = torch.zeros(5, 64)
    output = transformers.modeling_outputs.BaseModelOutputWithPooling(
        last_hidden_state=features[None], pooler_output=[features]
    )
    del inputs["pixel_values"]
    with (
        prune(model, "uniform"),
        pytest.raises(LayoutError, match="holds 16 image placeholders, but its images give 5"),
    ):
        model(**inputs, mm_encoder_outputs={"image": output})


# --------------------------------------------------------------------------------------- what fails the proof


def look_at_the_prompt(model):
    """Let layer 3 add something for every token that the decoder was given."""
    decoder = model.model.language_model
    whole, plain = decoder.forward, decoder.layers[3].forward
    seen = {}

    def enter(**kwargs):
        seen["length"] = kwargs["inputs_embeds"].shape[1]
        return whole(**kwargs)

    decoder.forward = enter
    decoder.layers[3].forward = lambda hidden, **kwargs: plain(
        hidden + 0.1 * seen["length"], **kwargs
    )


def test_a_model_whose_layers_see_more_than_their_rows_is_refused():
    model = unlisted("llava")
    look_at_the_prompt(model)
    family = found(model)
    with pytest.raises(UnknownFamily, match="not the same as a prompt without them"):
        family.prove(model, session_of(model))
    assert model not in generic._proven


def test_a_model_that_remembers_earlier_calls_is_refused():
    model = unlisted("llava")
    layer = model.model.language_model.layers[3]
    plain, calls = layer.forward, []

    def forward(hidden, **kwargs):
        calls.append(1)
        return plain(hidden + 0.1 * len(calls), **kwargs)

    layer.forward = forward
    with pytest.raises(UnknownFamily, match="keeping every token changes its output"):
        found(model).prove(model, session_of(model))


def test_attention_that_is_not_what_it_seems_is_refused():
    """Nothing else than its own maps could tell."""
    model = unlisted("llava")
    attention = model.model.language_model.layers[4].self_attn  # behind the boundary in the middle
    plain = attention.forward
    attention.forward = lambda hidden_states, **kwargs: plain(2 * hidden_states, **kwargs)
    family = found(model)
    with pytest.raises(UnknownFamily, match=r"attention that is read of decoder layer 4 is not"):
        family.prove(model, session_of(model))


def test_a_model_without_maps_is_proven_without_them():
    model = unlisted("llava")
    for layer in model.model.language_model.layers:
        plain = layer.self_attn.forward
        layer.self_attn.forward = lambda plain=plain, **kwargs: (plain(**kwargs)[0], None)
    found(model).prove(model, session_of(model))


def test_a_model_that_takes_no_features_is_refused():
    model = unlisted("llava")

    def refuse(*args, **kwargs):
        raise TypeError("no features here")

    family = found(model)
    model.model.get_placeholder_mask = refuse
    with pytest.raises(UnknownFamily, match=r"takes no features.*no features here"):
        family.prove(model, session_of(model))


@pytest.mark.parametrize("fails", [False, True])
def test_the_proof_leaves_the_model_as_it_was(fails):
    model = unlisted("llava").train()
    model.model.vision_tower.eval()
    if fails:
        look_at_the_prompt(model)
    family = found(model)

    before = state(model)
    torch.manual_seed(3)
    try:
        family.prove(model, session_of(model))
        assert not fails
    except UnknownFamily:
        assert fails
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(3)))
    assert state(model) == before


def state(model):
    modes = [module.training for module in model.modules()]
    hooks = [
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    ]
    sums = [float(weight.detach().double().sum()) for weight in model.parameters()]
    kernels = [config._attn_implementation for config in (model.config, model.config.text_config)]
    return modes, hooks, sums, kernels, [weight.grad is None for weight in model.parameters()]


def test_a_model_without_weights_is_not_run():
    with torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(MODELS["llava"].config())
    model.config.model_type = "unlisted"
    found(model).prove(model, session_of(model))


# --------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (transformers.LlamaConfig(), "image_token_id"),
        (transformers.MllamaConfig(), "attend to the picture from outside"),
        (transformers.Florence2Config(), "it has an encoder"),
    ],
    ids=["text only", "cross-attention", "encoder-decoder"],
)
def test_other_shapes_are_refused_with_what_they_lack(config, reason, monkeypatch):
    if config.model_type in ("mllama", "florence2"):
        assert any(reason in lack for lack in lacks_in_config(config))
    with pytest.raises(UnknownFamily, match=config.model_type):
        family_of(config)


def test_a_configuration_without_an_image_token_is_refused():
    config = MODELS["llava"].config()
    config.model_type = "unlisted"
    config.image_token_id = None
    with pytest.raises(UnknownFamily, match="lacks an image_token_id"):
        family_of(config)
    config.model_type = "llava"
    with pytest.raises(FamilyError, match=r"found by image_token_id.*got None"):
        family_of(config)


def test_inputs_by_row_are_refused_by_the_check():
    model = unlisted("gemma4_small")
    family = found(model)
    with pytest.raises(UnknownFamily, match="it fails when it is pruned"):
        family.prove(model, session_of(model))


def test_features_added_between_layers_are_refused():
    model = unlisted("qwen3_vl")
    with pytest.raises(UnknownFamily, match="features it adds between layers"):
        find_family(model)


def test_layers_without_projections_are_refused():
    model = unlisted("llava")
    del model.model.language_model.layers[2].self_attn.k_proj
    with pytest.raises(UnknownFamily, match=r"lacks self_attn\.k_proj in decoder layer 2"):
        find_family(model)
