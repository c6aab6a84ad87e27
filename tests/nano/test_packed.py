"""The packed forward is the model's own forward, question by question."""

from __future__ import annotations

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from transprune.nano.architecture import Sizes, new_llava, new_processor
from transprune.nano.batches import answer_tokens, prefix_of, right_answers
from transprune.nano.packed import layer_forward, run_packed
from transprune.nano.questions import ask_each
from transprune.nano.scenes import draw
from transprune.nano.train.batches import language_batch
from transprune.nano.train.curriculum import Mix, Scaffold
from transprune.nano.train.language import compiled_layer
from transprune.nano.train.start import grow, initialise
from transprune.nano.words import WORDS, encode

SMALL = Sizes(width=64, mlp=96, vision_layers=3, text_layers=1, layers=4)


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    model = new_llava(SMALL).eval()
    initialise(model)
    return model


@torch.no_grad()
def test_branches_equal_single_prompts(model) -> None:
    language = model.model.language_model
    generator = torch.Generator().manual_seed(0)
    prefix = torch.randn(2, 9, 64, generator=generator)
    short = torch.randint(0, 80, (2, 3, 5), generator=generator)
    long = torch.randint(0, 80, (2, 2, 7), generator=generator)
    branches = [short, long]

    packed = run_packed(language, prefix, branches)

    for ids, found in zip(branches, packed, strict=True):
        for sample in range(2):
            for branch in range(ids.shape[1]):
                rows = torch.cat([prefix[sample], language.embed_tokens(ids[sample, branch])])[None]
                alone = language(inputs_embeds=rows).last_hidden_state[0, 9:]
                torch.testing.assert_close(found[sample, branch], alone, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_a_packed_picture_equals_the_processor_and_the_whole_model(model) -> None:
    """From pixels and words to logits: training input equals the input of a user's prompt."""
    scene = draw("validation", 3)
    processor = new_processor()
    pixels = torch.from_numpy(scene.pixels)[None]

    for question in ask_each(scene, 0)[:4]:
        text = f"USER: <image>\n{question.text} ASSISTANT:"
        inputs = processor(images=scene.image(), text=text, return_tensors="pt")
        whole = model(**inputs).logits[0, -1]

        ids = torch.tensor([[encode([*question.text.split(), "ASSISTANT:"])]])
        hidden = run_packed(model.model.language_model, prefix_of(model, pixels), [ids])[0]
        torch.testing.assert_close(model.lm_head(hidden[0, 0, -1]), whole, atol=2e-4, rtol=1e-3)
        assert whole.shape == (len(WORDS),)


@torch.no_grad()
def test_masked_layers_do_not_see_the_picture(model) -> None:
    """With every layer masked the picture cannot matter; with one unmasked it does."""
    text = torch.ones(1, 2, 64)  # `<s> USER:`, which stays visible
    one = torch.cat([text, torch.randn(1, 7, 64)], dim=1)
    other = torch.cat([text, torch.randn(1, 7, 64)], dim=1)
    ids = [torch.randint(0, 80, (1, 2, 5))]

    def last(prefix: torch.Tensor, masked: range) -> torch.Tensor:
        return run_packed(model.model.language_model, prefix, ids, masked)[0]

    torch.testing.assert_close(last(one, range(4)), last(other, range(4)))
    assert (last(one, range(1, 4)) - last(other, range(1, 4))).abs().max() > 1e-3


@torch.no_grad()
def test_growing_changes_no_answer(model) -> None:
    grown = new_llava(Sizes(width=64, mlp=96, vision_layers=3, text_layers=1, layers=6)).eval()
    grown.model.vision_tower.load_state_dict(model.model.vision_tower.state_dict())
    grow(model, grown)
    batch = language_batch(range(2), Mix(3, 2), Scaffold(), (2, 8), "picture").packed

    before = answer_tokens(model, batch, (), layer_forward)
    after = answer_tokens(grown, batch, (), layer_forward)
    torch.testing.assert_close(before.logits, after.logits, atol=1e-4, rtol=1e-4)
    assert right_answers(after, batch).shape == (2 * 5,)


def test_gradients_reach_every_weight_but_the_tower(model) -> None:
    model.zero_grad()
    batch = language_batch(range(2), Mix(3, 2), Scaffold(), (2, 8), "picture").packed
    answer_tokens(model, batch, (), layer_forward).logits.square().mean().backward()

    without = set()
    for name, weight in model.named_parameters():
        if weight.grad is None or not weight.grad.any():
            without.add(name)

    # the tower is frozen; all of its weights, and no others, lack a gradient
    assert without
    assert all("vision_tower" in name for name in without)
    model.zero_grad()


def test_without_a_compiler_the_plain_function_is_used(monkeypatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert compiled_layer() is layer_forward
