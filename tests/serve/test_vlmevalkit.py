"""Requests as VLMEvalKit's class for OpenAI sends them, and the launcher, with a stand-in for its registry.

The shape is that of `OpenAIWrapper` in 0.2 and in ms-vlmeval 0.0.20, whose class itself was run against the
endpoint once and got the same answers.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from serve.conftest import PICTURES, runner
from transprune.serve.limits import Limits

EXAMPLE = Path(__file__).parents[2] / "examples" / "vlmevalkit"
QUESTION = "what shape is the orange object?"


@pytest.fixture(scope="module")
def settings():
    """The fields of the example's one model."""
    (model,) = json.loads((EXAMPLE / "api.json").read_text())["model"].values()
    return model


def as_jpeg(picture):
    """A picture as VLMEvalKit encodes it: RGB, JPEG, its size left as it is."""
    file = io.BytesIO()
    Image.open(picture).convert("RGB").save(file, format="JPEG")
    return base64.b64encode(file.getvalue()).decode()


def image_part(settings, picture):
    url = f"data:image/jpeg;base64,{as_jpeg(picture)}"
    return {"type": "image_url", "image_url": {"url": url, "detail": settings["img_detail"]}}


def send(server, settings, messages, **changes):
    """One request, with the headers and fields that its class writes."""
    key = settings["key"]
    payload = {
        "model": settings["model"].replace("MODEL", "nano"),
        "messages": messages,
        "n": 1,
        "temperature": settings["temperature"],
        "max_tokens": settings["max_tokens"],
        **changes,
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    url = f"{server.address}/v1/chat/completions"
    content = json.dumps({name: value for name, value in payload.items() if value is not None})
    return httpx2.post(url, headers=headers, content=content, timeout=60, trust_env=False)


def answer_of(response):
    """What its class takes from an answer."""
    assert response.status_code == 200, response.text
    return json.loads(response.text)["choices"][0]["message"]["content"].strip()


def test_the_example_is_what_its_class_asserts(settings) -> None:
    assert settings["key"].startswith("sk-")
    assert settings["img_size"] == -1
    assert settings["img_detail"] in ("high", "low")
    assert settings["api_base"].endswith("/v1/chat/completions")
    assert settings["max_tokens"] <= Limits().new_tokens


def test_a_question_with_a_picture(live, checkpoint, settings) -> None:
    text = {"type": "text", "text": QUESTION}
    response = send(
        live, settings, [{"role": "user", "content": [image_part(settings, PICTURES[1]), text]}]
    )
    # the picture went through JPEG, which may change an answer, so not that of the PNG
    assert answer_of(response)
    pruning = response.json()["usage"]["pruning"]
    assert pruning["method"] == "transprune-high"
    assert pruning["visual_tokens_after"] < pruning["visual_tokens_before"] == 144


def test_its_other_messages(live, settings) -> None:
    """Without a picture, in several turns, and with two pictures between texts."""
    hello = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    assert answer_of(send(live, settings, hello))
    # newer releases send text alone as a string, and n to openai.com only
    assert answer_of(send(live, settings, [{"role": "user", "content": "hello"}], n=None))

    text = {"type": "text", "text": QUESTION}
    first = {"role": "user", "content": [image_part(settings, PICTURES[1]), text]}
    turns = [
        first,
        {"role": "assistant", "content": [{"type": "text", "text": "star"}]},
        {"role": "user", "content": [{"type": "text", "text": "how many objects are there?"}]},
    ]
    assert answer_of(send(live, settings, turns))

    two = [image_part(settings, picture) for picture in PICTURES[:2]]
    mixed = [{"type": "text", "text": "Image-1:"}, two[0], {"type": "text", "text": "Image-2:"}]
    response = send(live, settings, [{"role": "user", "content": [*mixed, two[1], text]}])
    assert response.json()["usage"]["pruning"]["visual_tokens_before"] == 288


def test_its_default_length_is_answered(live, settings) -> None:
    """2048 is beyond the bound of the server and the context of the model; a refusal would be
    written down as a wrong answer.
    """
    hello = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    short = answer_of(send(live, settings, hello))
    assert answer_of(send(live, settings, hello, max_tokens=2048)) == short


# ---------------------------------------------------------------------------------- the launcher

STAND_IN = '''
from transprune.models.checkpoint import LoadOptions, load


class Wrapper:
    """As VLMEvalKit's: a class around a model of transformers."""

    def __init__(self, dtype="float32"):
        self.checkpoint = load("nano", LoadOptions(dtype=dtype, device="cpu"))
        self.model = self.checkpoint.model


supported_VLM = {"nano": Wrapper}
'''
RUN = """
import argparse

from PIL import Image

from transprune.models.answer import ask, prepare
from vlmeval.config import supported_VLM

words = argparse.ArgumentParser()
words.add_argument("--model")
words.add_argument("--data")
given = words.parse_args()

checkpoint = supported_VLM[given.model](dtype="float32").checkpoint
inputs = prepare(checkpoint, [Image.open(given.data).convert("RGB")], "%s")
print(given.model, ask(checkpoint, inputs, max_new_tokens=8).text, sep="|")
cache = checkpoint.model(**inputs, use_cache=True).past_key_values
print(*(layer.keys.shape[2] for layer in cache.layers))
"""


def test_the_launcher_prunes_what_the_registry_makes(tmp_path, checkpoint) -> None:
    (tmp_path / "vlmeval").mkdir()
    (tmp_path / "vlmeval" / "__init__.py").touch()
    (tmp_path / "vlmeval" / "config.py").write_text(STAND_IN)
    (tmp_path / "run.py").write_text(RUN % QUESTION)

    words = ["transprune-high", "--model", "nano", "--data", str(PICTURES[1])]
    search = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, EXAMPLE / "launch.py", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr

    expected = runner(checkpoint)(QUESTION, 1, "transprune-high", 8)
    named, lengths = done.stdout.strip().splitlines()
    assert named == f"nano+transprune-high|{expected.text}"
    assert [int(length) for length in lengths.split()] == list(expected.trace.kv_lengths)
