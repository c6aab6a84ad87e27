"""The question on its way into CLIP's joint space: from prompt ids to text, from text to an embedding."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer, CLIPModel

from families.cases import FAMILIES, build
from transprune import nano, prune
from transprune.errors import MissingSignal
from transprune.methods import CDPruner
from transprune.runtime.taps.text_tower import TextTower, find_text_tower

QUESTION = "what color is the circle ?"


@pytest.fixture(scope="module")
def tower():
    config = SimpleNamespace(_name_or_path=str(nano.path()))
    vision = CLIPModel.from_pretrained(nano.path() / "clip").config.vision_config
    return find_text_tower(
        None, SimpleNamespace(config=SimpleNamespace(vision_config=vision)), config
    )


@pytest.fixture(scope="module")
def words():
    return AutoTokenizer.from_pretrained(nano.path())


def ids_of(words, text):
    return torch.tensor(words(text, add_special_tokens=False)["input_ids"])


def test_the_question_is_what_the_template_does_not_say(tower, words):
    prompt = ids_of(words, f"USER: {QUESTION} ASSISTANT:")
    assert tower.read(ids_of(words, f"{QUESTION} ASSISTANT:"), prompt) == QUESTION
    assert tower.read(ids_of(words, QUESTION), prompt) == QUESTION, "a prompt without the template"
    assert tower.read(ids_of(words, "ASSISTANT:"), prompt) == QUESTION, (
        "a question in front of the image"
    )


def test_a_question_is_embedded_as_clip_itself_does(tower, words):
    """A plain call of the CLIPModel on the same words with its own end token."""
    clip = CLIPModel.from_pretrained(nano.path() / "clip", dtype=torch.float32).eval()
    own = AutoTokenizer.from_pretrained(nano.path() / "clip")
    with torch.no_grad():
        expected = clip.get_text_features(
            **own(f"{QUESTION} </s>", return_tensors="pt")
        ).pooler_output
    ids = ids_of(words, f"{QUESTION} ASSISTANT:")
    torch.testing.assert_close(tower.embed_question(ids, ids), expected, atol=1e-5, rtol=0)


def test_patches_are_embedded_as_the_cls_state_is(tower):
    clip = CLIPModel.from_pretrained(nano.path() / "clip", dtype=torch.float32).eval()
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        state = clip.vision_model(pixels).last_hidden_state[:, 0]
        expected = clip.get_image_features(pixels).pooler_output
    torch.testing.assert_close(tower.embed_patches(state), expected, atol=1e-5, rtol=0)


def test_a_long_question_comes_in_segments(tower, words):
    ids = ids_of(words, " ".join([QUESTION] * 15))  # 90 words, 38 fit beside begin and end
    assert tower.embed_question(ids, ids).shape == (3, 128)


@torch.no_grad()
def test_cdpruner_on_the_bundled_model_equals_a_hand_computation():
    model = AutoModelForImageTextToText.from_pretrained(nano.path(), dtype=torch.float32).eval()
    clip = CLIPModel.from_pretrained(nano.path() / "clip", dtype=torch.float32).eval()
    own, processor = (
        AutoTokenizer.from_pretrained(nano.path() / "clip"),
        AutoProcessor.from_pretrained(nano.path()),
    )
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    ids = processor.tokenizer(
        f"USER: {'<image>' * 144} {QUESTION} ASSISTANT:", return_tensors="pt"
    )["input_ids"]
    with prune(model, CDPruner(20)) as session:
        model(input_ids=ids, pixel_values=pixels)

    states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][0, 1:]
    features = torch.nn.functional.normalize(model.model.multi_modal_projector(states), dim=-1)
    patches = clip.visual_projection(clip.vision_model.post_layernorm(states))
    text = clip.get_text_features(**own(f"{QUESTION} </s>", return_tensors="pt")).pooler_output
    relevance = -torch.cosine_similarity(patches, text)
    relevance = (relevance - relevance.min() + 1e-6) / (relevance.max() - relevance.min())
    kernel = (relevance[:, None] * (features @ features.T) * relevance).double()
    chosen: list[int] = []
    for _ in range(20):
        rest = [i for i in range(144) if i not in chosen]
        gains = [float(torch.logdet(kernel[[*chosen, i]][:, [*chosen, i]])) for i in rest]
        chosen.append(rest[max(range(len(rest)), key=gains.__getitem__)])
    assert session.trace.stages[0].keep[0].tolist() == sorted(chosen)


def test_another_question_gives_another_choice(zoo):
    case = FAMILIES["llava"]
    keeps = []
    for seed in (0, 1):
        with torch.no_grad(), prune(zoo("llava", "sdpa"), CDPruner(6)) as session:
            zoo("llava", "sdpa")(**case.batch([case.sample([0], [3, 6], seed=seed)]))
        keeps.append(session.trace.stages[0].keep[0].tolist())
    assert keeps[0] != keeps[1]


def test_without_the_text_half_the_cure_is_named(zoo, tmp_path):
    model = zoo.fresh("llava", "sdpa")
    model.config._name_or_path = str(tmp_path)
    with pytest.raises(
        MissingSignal, match=r"text_tower=.*openai/clip-vit-large-patch14-336.*relevance=embedding"
    ):
        prune(model, "cdpruner:keep=6")
    prune(model, "cdpruner:keep=6,relevance=embedding")
    prune(zoo("qwen2_5_vl", "sdpa"), "cdpruner:keep=6")


def test_a_tower_can_be_given(zoo, tmp_path):
    case, given = FAMILIES["llava"], zoo("llava", "sdpa")
    folder, inputs = given.config._name_or_path, case.batch(case.even()[:1])
    stripped = zoo.fresh("llava", "sdpa")
    words = AutoTokenizer.from_pretrained(folder)
    tower = TextTower(CLIPModel.from_pretrained(f"{folder}/clip"), words, words)
    keeps = []
    for model, options in (
        (given, {}),
        (stripped, {"text_tower": tower}),
        (given, {"text_tower": f"{folder}/clip"}),
    ):
        if model is stripped:
            model.config._name_or_path = str(tmp_path)
        with torch.no_grad(), prune(model, CDPruner(6), **options) as session:
            model(**inputs)
        keeps.append(session.trace.stages[0].keep[0].tolist())
    assert keeps[0] == keeps[1] == keeps[2]


def test_the_text_half_of_another_clip_is_refused(zoo):
    with pytest.raises(MissingSignal, match="width 128 with 6 layers"):
        prune(zoo("llava", "sdpa"), "cdpruner:keep=6", text_tower=str(nano.path() / "clip"))


def test_joined_layers_have_no_place_in_clips_space(zoo):
    """LLaVA with several feature layers takes CDPruner's substitute, or is refused when the session is built."""
    config = FAMILIES["llava"].config()
    config.vision_feature_layer = [-2, -1]
    model = build(dataclasses.replace(FAMILIES["llava"], config=lambda: config)).eval()
    case = FAMILIES["llava"]
    with torch.no_grad(), prune(model, "cdpruner:keep=6") as session:
        model(**case.batch(case.even()))
    assert len(session.trace.stages[0].keep[0]) == 6
    with pytest.raises(MissingSignal, match="several layers"):
        prune(model, "cdpruner:keep=6,relevance=clip")
