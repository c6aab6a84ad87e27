"""Models of other families: ragged batches, prompts without a template, and what cannot be reused."""

from __future__ import annotations

import pytest

from cli.conftest import llava, llava_next, qwen  # noqa: F401
from serve.conftest import PICTURES, data_url, small, to_bytes, user
from serve.test_batches import Kitchen
from transprune.errors import LayoutError
from transprune.models.chat import Turn, knows_system, prepare_chat
from transprune.models.checkpoint import LoadOptions, load
from transprune.models.prompt import prepare
from transprune.serve.limits import MIB

SIZES = ((60, 40), (40, 60), (64, 64))


@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen"])
def test_a_ragged_batch_is_answered_like_its_samples(request, family):
    folder = request.getfixturevalue(family)
    checkpoint = load(folder, LoadOptions(dtype="float32", device="cpu"))
    checkpoint.model.generation_config.eos_token_id = None
    kitchen = Kitchen(checkpoint, 16 * MIB, ())

    def jobs(method):
        made = []
        for number, size in enumerate(SIZES):
            picture = data_url(to_bytes(small(("red", "blue", "green")[number], size)))
            question = "what color is the circle ? " * (number + 1)
            messages = user(question, picture)
            made.append(kitchen.job(pruning=method, messages=messages, max_tokens=5))
        return made

    for method in ("unpruned", "transprune-high"):
        alone = []
        for job in jobs(method):
            kitchen.runner.run([job])
            alone.append(job.events[-1])
        together = jobs(method)
        kitchen.runner.run(together)
        for job, expected in zip(together, alone, strict=True):
            got = job.events[-1]
            assert got.text == expected.text
            assert got.usage.visual_after == expected.usage.visual_after
            assert got.usage.flops_share == pytest.approx(expected.usage.flops_share)
    assert kitchen.metrics.registry.get_sample_value("transprune_retried_total") == 0


def test_one_question_of_a_chat_is_the_prompt_of_run(checkpoint):
    from PIL import Image

    with Image.open(PICTURES[0]) as image:
        picture = image.convert("RGB")
    expected = prepare(checkpoint, [picture], "what?")
    got = prepare_chat(checkpoint, [Turn("user", (None, "what?"))], [picture])
    assert set(got) == set(expected)
    for name in expected:
        assert got[name].equal(expected[name]), name


class Written:
    """A processor whose template is given."""

    def __init__(self, template):
        self.chat_template = template

    def apply_chat_template(self, messages, chat_template, **options):
        from jinja2 import Template

        return Template(chat_template).render(messages=messages)


KNOWS = "{% for m in messages %}<{{ m.role }}>{{ m.content[0].text }}{% endfor %}"
MIXES = (
    "{% for m in messages %}{{ 'Q' if m.role == 'user' else 'A' }}"
    "{{ m.content[0].text }}{% endfor %}"
)
DROPS = "{% for m in messages if m.role != 'system' %}{{ m.content[0].text }}{% endfor %}"
RAISES = "{{ messages[0].role.missing.missing }}"


@pytest.mark.parametrize(
    ("template", "knows"), [(KNOWS, True), (MIXES, False), (DROPS, False), (RAISES, False)]
)
def test_a_template_that_knows_system_messages_is_told_from_others(template, knows):
    assert knows_system(Written(template)) is knows


def test_without_a_template_one_question_is_taken(checkpoint, monkeypatch):
    for part in (checkpoint.processor, checkpoint.processor.tokenizer):
        monkeypatch.setattr(part, "chat_template", None)
    one = prepare_chat(checkpoint, [Turn("user", ("what?",))], [])
    assert one["input_ids"].shape[1] > 2
    turns = [Turn("user", ("what?",)), Turn("assistant", ("x",)), Turn("user", ("why?",))]
    with pytest.raises(LayoutError, match="no chat template"):
        prepare_chat(checkpoint, turns, [])
