"""Turn tokens into text piece by piece, and end it at a stop sequence.

The pieces of a stream put together are the text that decoding all tokens at once gives, without
white space around it. So text that may still change is held back: half a character, white space at
the end, and what may be the beginning of a stop sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transprune.errors import ServeError

HALF = "\ufffd"  # what a decoder writes for bytes that are no whole character
CLEANED = 4  # the longest piece whose spaces some tokenizers remove afterwards, as in "ca n't"


class TextStream:
    """The text of one answer as it grows.

    Args:
        tokenizer: decodes token ids.
        stops: texts that end the answer; they are not part of it.
        sent: text that was handed out before, in an earlier attempt at the same answer.

    Attributes:
        stopped: a stop sequence was found.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = (), sent: str = "") -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        self._ids: list[int] = []
        self._sent = sent
        self._whole = ""
        self._late = CLEANED if getattr(tokenizer, "clean_up_tokenization_spaces", False) else 0
        self.stopped = False

    @property
    def text(self) -> str:
        """The whole text so far."""
        return self._whole

    @property
    def sent(self) -> str:
        """What has been handed out."""
        return self._sent

    def push(self, token: int) -> str:
        """Add a token; the text that is certain now and was not before."""
        if self.stopped:
            return ""

        self._ids.append(token)
        decoded = self._tokenizer.decode(self._ids, skip_special_tokens=True)

        cut = _first(decoded, self._stops)
        self.stopped = cut is not None
        self._whole = decoded[:cut].strip()
        if self.stopped:
            return ""  # `finish` hands out the rest

        certain = decoded[: len(decoded) - self._late].rstrip(HALF)
        certain = certain[: len(certain) - _begun(certain, self._stops)].strip()
        return self._hand_out(certain)

    def finish(self) -> str:
        """The rest of the text.

        Raises:
            ServeError: an earlier attempt had handed out another beginning.
        """
        if not self._whole.startswith(self._sent):
            raise ServeError("the second attempt at an answer differs from what was streamed")
        return self._hand_out(self._whole)

    def _hand_out(self, certain: str) -> str:
        """What `certain` adds to what was sent; nothing while it is shorter."""
        if not certain.startswith(self._sent):
            return ""
        piece = certain[len(self._sent) :]
        self._sent = certain
        return piece


def _first(text: str, stops: Sequence[str]) -> int | None:
    """Where the earliest stop sequence begins."""
    places = [text.find(stop) for stop in stops]
    found = [place for place in places if place >= 0]
    return min(found) if found else None


def _begun(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of a text that may become a stop sequence."""
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest
