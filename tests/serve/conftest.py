"""A real server on loopback with the bundled model, and the official client."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import time
from functools import lru_cache
from pathlib import Path

import httpx2
import pytest
import uvicorn
from openai import OpenAI
from PIL import Image

import transprune
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import LoadOptions, load
from transprune.serve.app import build_app
from transprune.serve.fetch import Fetcher
from transprune.serve.limits import Limits
from transprune.serve.recipes import Recipes
from transprune.serve.server import bind
from transprune.serve.service import Service

PICTURES = sorted((Path(transprune.__file__).parent / "demo" / "pictures").glob("scene*.png"))
LIMITS = Limits()
OFFERED = ("transprune-low", "divprune:keep_ratio=0.25", "visionzip:keep=64")


class Live:
    """A server that runs in a thread of this process."""

    def __init__(self, checkpoint, limits=LIMITS, *, tokens=(), fetcher=None):
        recipes = Recipes(checkpoint, "nano", "transprune-high", OFFERED)
        self.service = Service(checkpoint, recipes, limits, fetcher or Fetcher(limits=limits))
        config = uvicorn.Config(
            build_app(self.service, tokens, grace=5), log_config=None, ws="none", access_log=False
        )
        self.server = uvicorn.Server(config)
        self.socket = bind("127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True
        )

    def start(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def stop(self):
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.socket.close()

    def client(self, token="none", **options):
        return OpenAI(base_url=f"{self.address}/v1", api_key=token, max_retries=0, **options)

    def post(self, body=None, *, headers=None, **options):
        """A bare request; the answer whatever its status."""
        given = {"json": body} if body is not None else options
        url = f"{self.address}/v1/chat/completions"
        return httpx2.post(url, headers=headers, timeout=60, trust_env=False, **given)

    def metric(self, name, **labels):
        return self.service.metrics.registry.get_sample_value(f"transprune_{name}", labels) or 0.0


def load_nano(*, endless=False):
    """The bundled model; `endless` without an end token, so that its answers have any length."""
    checkpoint = load("nano", LoadOptions(dtype="float32", device="cpu"))
    if endless:
        checkpoint.model.generation_config.eos_token_id = None
    return checkpoint


def runner(checkpoint):
    """What `transprune run` answers: (question, number of the picture, method, tokens) -> answer."""

    @lru_cache
    def run(question, number, method, tokens=64):
        with Image.open(PICTURES[number]) as image:
            inputs = prepare(checkpoint, [image.convert("RGB")], question)
        return ask(checkpoint, inputs, None if method == "unpruned" else method, tokens)

    return run


@pytest.fixture(scope="session")
def checkpoint():
    """The bundled model; no server has it, so that nothing else prunes it meanwhile."""
    return load_nano()


@pytest.fixture(scope="session")
def endless():
    """A server whose answers end at their length only."""
    server = Live(load_nano(endless=True)).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def live():
    """The server most tests share."""
    server = Live(load_nano()).start()
    yield server
    server.stop()


@pytest.fixture
def serve():
    """Servers of a test's own: `serve(limits, tokens=..., fetcher=...)`."""
    with contextlib.ExitStack() as stack:

        def start(limits=LIMITS, **options):
            # `live` may still be busy with a client that left, and would hold a model of both
            server = Live(load_nano(), limits, **options).start()
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="session")
def client(live):
    with live.client() as client:
        yield client


def data_url(data, kind="png"):
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def to_bytes(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def user(question, *pictures):
    """The messages of one question; pictures are files or URLs."""
    parts = []
    for picture in pictures:
        url = picture if isinstance(picture, str) else data_url(Path(picture).read_bytes())
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]


def body(question="what shape is the orange object?", picture=PICTURES[1], **fields):
    """The body of a request."""
    return {"model": "nano", "messages": user(question, picture), **fields}


def small(color="red", size=(20, 16)):
    return Image.new("RGB", size, color)
