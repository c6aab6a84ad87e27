"""Videos in the prompts of other tools, as `transprune run --video` asks them."""

from __future__ import annotations

import pytest

from transprune.integrations.batches import Generation, answer_together
from transprune.integrations.messages import read_messages
from transprune.methods.common.recipe import resolve
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import load
from transprune.models.clips import open_clip

QUESTION = "w7 w8 w9"


@pytest.mark.parametrize("name", ["qwen2_5_vl", "video_llava"])
def test_a_video_is_asked_as_by_run(folders, film, name) -> None:
    checkpoint = load(folders(name))
    content = [{"type": "video", "url": str(film)}, {"type": "text", "text": QUESTION}]
    conversation = read_messages(checkpoint, [{"role": "user", "content": content}], frames=6)
    assert conversation.media == (False, True)

    method = resolve("fastv:layer=2,keep_ratio=0.5")
    answers = answer_together(checkpoint, [conversation], method, Generation(max_new_tokens=3))
    inputs = prepare(checkpoint, [], QUESTION, [open_clip(film, 6)])
    expected = ask(checkpoint, inputs, method, 3)
    assert answers.texts == (expected.text,)
    assert answers.trace is not None
    assert answers.trace.frames == expected.trace.frames
    assert answers.trace.tokens_per_layer() == expected.trace.tokens_per_layer()
