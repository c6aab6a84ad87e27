"""What a call says counts, and not the configuration: layers, strategies and picture sizes given with it."""

import pytest
import torch
import transformers

from families.case import text_config
from families.cases import FAMILIES, IMAGE, FamilyCase, Image, build, greedy
from methods.cases import METHODS
from transprune import prune
from transprune.errors import MissingSignal

READERS = [name for name, case in METHODS.items() if case.method.steps[0].reads.vision]
CALLS = [
    {"vision_feature_layer": -1},
    {"vision_feature_layer": -3},
    {"vision_feature_layer": 1},
    {"vision_feature_layer": [-2, -3]},
    {"vision_feature_select_strategy": "full"},
]


@torch.no_grad()
def run(model, inputs, method, generate, **call):
    with prune(model, method, record="scores") as session:
        if generate:
            greedy(model, inputs, steps=2, **call)
        else:
            model(**inputs, **call)
    stage = session.trace.stages[0]
    return stage.keep[0].tolist(), {
        name: scores[0] for name, scores in (stage.scores or {}).items()
    }


def prompt(tokens):
    image = FAMILIES["llava"].image(0)
    ids = torch.tensor([[5, 6, 7, *[IMAGE] * tokens, 8, 9]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **image.tensors}


def joined(zoo, width):
    """A model whose projector takes the states of `width` layers."""
    config = FAMILIES["llava"].config()
    config.vision_feature_layer = [-2] * width
    torch.manual_seed(0)
    return transformers.AutoModelForImageTextToText.from_config(
        config, attn_implementation="sdpa"
    ).eval()


@pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])
@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("name", READERS)
def test_as_if_the_configuration_said_so(zoo, name, call, generate):
    """`generate` encodes the pictures ahead, and hides the options from the forward."""
    ((option, value),) = call.items()
    inputs = prompt(17 if value == "full" else 16)
    several = isinstance(value, list)
    if several and name == "cdpruner":
        pytest.skip("joined layers have no place in CLIP's space: refused")

    by_call = joined(zoo, 2) if several else zoo.fresh("llava", "sdpa")
    by_config = joined(zoo, 2) if several else zoo.fresh("llava", "sdpa")
    setattr(by_config.config, option, value)

    method = METHODS[name].method
    expected, wanted = run(by_config, inputs, method, generate)
    kept, scores = run(by_call, inputs, method, generate, **call)
    assert kept == expected
    for score in wanted:
        torch.testing.assert_close(scores[score], wanted[score], equal_nan=True)


def test_states_that_belong_to_no_layer(zoo):
    """Whoever changes the states in front of the projector leaves nothing to read."""
    model = zoo.fresh("llava", "sdpa")
    model.model.multi_modal_projector.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    with pytest.raises(MissingSignal, match="other states"):
        run(model, prompt(16), METHODS["visionzip"].method, False)


# -------------------------------------------------------------------------- a tower of variable resolution


def _pixtral():
    tower = {
        "model_type": "pixtral",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 56,
        "patch_size": 7,
        "head_dim": 8,
    }
    return transformers.LlavaConfig(
        vision_config=tower,
        text_config=text_config("mistral", sliding_window=None),
        image_token_id=IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )


def _pixtral_image(number):
    height, width = [(28, 42), (56, 56), (42, 14)][number]
    generator = torch.Generator().manual_seed(number)
    pixels = torch.zeros(1, 3, 56, 56)  # smaller pictures are padded
    pixels[..., :height, :width] = torch.randn(3, height, width, generator=generator)
    sizes = torch.tensor([[height, width]])
    return Image(height // 7 * (width // 7), {"pixel_values": pixels, "image_sizes": sizes})


PIXTRAL = FamilyCase(_pixtral, _pixtral_image)


@pytest.fixture(scope="module")
def pixtral():
    return build(PIXTRAL).eval()


@pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])
@pytest.mark.parametrize("name", ["fastv", "uniform", "norm", "pool", "divprune"])
def test_pictures_of_several_sizes_are_told_apart(pixtral, name, generate):
    sample = PIXTRAL.sample([0, 1, 2], [2, 1, 1, 4])
    method = METHODS[name].method
    with torch.no_grad(), prune(pixtral, method, pool="image") as session:
        inputs = PIXTRAL.batch([sample])
        greedy(pixtral, inputs, steps=2) if generate else pixtral(**inputs)

    kept = session.trace.stages[-1].keep[0]
    start = 0
    for image in sample.images:
        own = (kept >= start) & (kept < start + image.tokens)
        assert int(own.sum()) == method.plan(8, image.tokens)[-1].count
        start += image.tokens


def test_signals_a_pixtral_tower_does_not_have(pixtral):
    inputs = PIXTRAL.batch([PIXTRAL.sample([0], [2, 4])])
    for name in ("visionzip", "tome", "downsample"):
        with pytest.raises(MissingSignal, match="Pixtral"):
            run(pixtral, inputs, METHODS[name].method, False)
