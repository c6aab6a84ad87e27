"""How much one request, and all of them together, may take."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds of a server; a request beyond one of them is refused and named the bound.

    Attributes:
        body_bytes: bytes of a request's body, pictures included.
        pending_bytes: bytes of the bodies, and then of the prepared inputs, of all requests.
        pixels: width x height of a picture, read from its header before anything is decoded.
        aspect: the longer side of a picture over the shorter one. Processors bring the shorter side
            to a fixed size first, so a line of pixels would become gigabytes.
        pictures: pictures of one request.
        messages: messages of one request.
        text_chars: characters of all its text.
        prompt_tokens: tokens of its prompt, visual ones included, before pruning.
        new_tokens: tokens of an answer, whatever a request asks for.
        waiting: requests that may wait; one more is answered with 429 and Retry-After.
        batch: requests that run together.
        batch_tokens: prompt tokens that run together, padding counted.
        gather_seconds: how long the oldest request waits for others to run with it.
        seconds: from the arrival of a request to its last token.
        body_seconds: to receive its body, and to fetch each of its pictures.
        reuse_bytes: features and prefilled prompts that are kept for later requests; 0 keeps none.
    """

    body_bytes: int = 20 * MIB
    pending_bytes: int = 512 * MIB
    pixels: int = 25_000_000
    aspect: float = 50.0
    pictures: int = 8
    messages: int = 100
    text_chars: int = 32_768
    prompt_tokens: int = 8_192
    new_tokens: int = 512
    waiting: int = 256
    batch: int = 16
    batch_tokens: int = 65_536
    gather_seconds: float = 0.003
    seconds: float = 120.0
    body_seconds: float = 30.0
    reuse_bytes: int = 256 * MIB


DEFAULTS = Limits()
