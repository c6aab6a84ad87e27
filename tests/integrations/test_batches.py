"""Prompts of other tools: read, answered together as alone, and counted."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from transprune.errors import ImageError, LayoutError
from transprune.integrations.batches import Generation, answer_together
from transprune.integrations.messages import is_video, open_picture, read_messages
from transprune.integrations.summary import Summary
from transprune.methods.common.recipe import resolve
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import load
from transprune.nano import scenes

QUESTIONS = (
    "what color is the circle ?",
    "is there a red square in the image ?",
    "how many objects are there ?",
)


@pytest.fixture(scope="module")
def checkpoint():
    return load("nano")


def picture(index: int = 0) -> Image.Image:
    return scenes.draw("test", index).image()


def conversation(checkpoint, question: str, *pictures):
    content = [{"type": "image", "url": one} for one in pictures]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
    return read_messages(checkpoint, messages, frames=4)


@pytest.mark.parametrize("recipe", [None, "transprune-high", "visionzip:keep=0.5"])
def test_a_batch_answers_as_each_question_alone(checkpoint, recipe) -> None:
    method = None if recipe is None else resolve(recipe)
    generation = Generation(max_new_tokens=6)
    prompts = []
    expected = []
    for index, question in enumerate(QUESTIONS):
        prompts.append(conversation(checkpoint, question, picture(index)))
        inputs = prepare(checkpoint, [picture(index)], question)
        expected.append(ask(checkpoint, inputs, method, 6).text)

    together = answer_together(checkpoint, prompts, method, generation)
    assert list(together.texts) == expected
    alone = [answer_together(checkpoint, [one], method, generation) for one in prompts]
    assert [one.texts[0] for one in alone] == expected
    assert [one.prompt_tokens[0] for one in alone] == list(together.prompt_tokens)
    assert [one.new_tokens[0] for one in alone] == list(together.new_tokens)
    assert (together.trace is None) == (recipe is None)


def test_several_pictures_of_one_prompt(checkpoint) -> None:
    pictures = (picture(1), picture(2))
    asked = conversation(checkpoint, QUESTIONS[0], *pictures)
    other = conversation(checkpoint, QUESTIONS[1], *reversed(pictures))
    method = resolve("transprune-high")
    found = answer_together(checkpoint, [asked, other], method, Generation(max_new_tokens=4))

    inputs = prepare(checkpoint, pictures, QUESTIONS[0])
    assert found.texts[0] == ask(checkpoint, inputs, method, 4).text
    assert found.trace is not None
    assert found.trace.visual_tokens == (288, 288)


def test_generation_options_of_tasks() -> None:
    greedy = Generation.read({"until": ["\n\n"], "temperature": 0, "top_p": 0, "num_beams": 1})
    assert greedy == Generation(stop=("\n\n",))
    assert greedy.cut("yes\n\nno ") == "yes"

    odd = {"image_aspect_ratio": "original", "until": "ASSISTANT:", "max_new_tokens": 16}
    assert Generation.read(odd) == Generation(16, ("ASSISTANT:",))
    assert Generation.read({"do_sample": False, "temperature": 0.0}).sampling == {}
    assert Generation.read({"temperature": 0.7, "top_p": 0.9}).sampling == {
        "temperature": 0.7,
        "top_p": 0.9,
    }
    # sampling without a temperature is sampling all the same
    assert Generation.read({"do_sample": True}).sampling == {"temperature": 1.0}


def test_an_earlier_turn_stays_in_the_prompt(checkpoint) -> None:
    messages = [
        {"role": "user", "content": [{"type": "image", "image": picture()}]},
        {"role": "user", "content": [{"type": "text", "text": QUESTIONS[0]}]},
    ]
    template = checkpoint.processor.chat_template
    checkpoint.processor.chat_template = (
        "{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}<image>\n"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}|{% endfor %}"
    )
    try:
        assert read_messages(checkpoint, messages, 4).prompt == f"<image>\n|{QUESTIONS[0]}|"
    finally:
        checkpoint.processor.chat_template = template


def test_what_is_no_picture_is_refused(checkpoint) -> None:
    with pytest.raises(ImageError, match="a picture is a Pillow image or a path; got int"):
        open_picture(3)
    with pytest.raises(LayoutError, match="text, pictures and videos; got 'audio'"):
        read_messages(
            checkpoint, [{"role": "user", "content": [{"type": "audio", "url": "a.wav"}]}], 4
        )
    assert is_video("film.mp4")
    assert not is_video("picture.PNG")
    assert not is_video(picture())


def test_a_summary_is_the_mean_over_prompts(checkpoint) -> None:
    method = resolve("transprune-high")
    prompts = [conversation(checkpoint, one, picture()) for one in QUESTIONS]
    generation = Generation(max_new_tokens=4)

    summary = Summary()
    traces = []
    for batch in (prompts[:2], prompts[2:]):
        answers = answer_together(checkpoint, batch, method, generation)
        summary.add(answers)
        traces.append(answers.trace)

    numbers = summary.numbers()
    costs = [traces[0].sample_cost(0), traces[0].sample_cost(1), traces[1].sample_cost(0)]
    assert numbers["exact_prefill_flops"] == pytest.approx(sum(one.prefill for one in costs) / 3)
    assert numbers["kv_bytes"] == pytest.approx(sum(one.kv_bytes for one in costs) / 3)
    layers = [numbers[f"visual_tokens_layer_{layer:02}"] for layer in range(16)]
    assert tuple(layers) == traces[0].tokens_per_layer(0)
    assert summary.prompts == 3
    assert 0 < numbers["prefill_seconds"] <= summary.seconds


def test_sampling_is_passed_on(checkpoint) -> None:
    prompt = conversation(checkpoint, QUESTIONS[0], picture())
    hot = Generation(max_new_tokens=4, sampling={"temperature": 50.0})
    torch.manual_seed(0)
    texts = {answer_together(checkpoint, [prompt], None, hot).texts[0] for _ in range(4)}
    assert len(texts) > 1
