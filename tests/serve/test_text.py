"""Text in pieces: put together they are the whole, and nothing is taken back."""

from __future__ import annotations

import random

import pytest
import torch

from transprune.errors import ServeError
from transprune.serve.decode import draw
from transprune.serve.job import Sampling
from transprune.serve.text import TextStream


class Bytes:
    """A tokenizer whose tokens are bytes of UTF-8."""

    clean_up_tokenization_spaces = False

    def decode(self, ids, skip_special_tokens=True):
        return bytes(ids).decode("utf-8", errors="replace")


def pieces(text, stops=(), sent=""):
    stream = TextStream(Bytes(), stops, sent)
    found = []
    for token in text.encode():
        found.append(stream.push(token))
        if stream.stopped:
            break
    return [*found, stream.finish()], stream


@pytest.mark.parametrize("text", ["", "a", "  a b  ", "zwölf Äpfel 🍎 und 水", "\n\n", "a\n \nb"])
def test_the_pieces_are_the_stripped_text(text):
    found, stream = pieces(text)
    assert "".join(found) == text.strip() == stream.text
    assert not any("\ufffd" in piece for piece in found)


def test_every_piece_is_final_for_random_texts_and_stops():
    rng = random.Random(0)
    for _ in range(500):
        text = "".join(rng.choice("ab cé") for _ in range(rng.randrange(12)))
        stops = ["".join(rng.choice("ab cé") for _ in range(rng.randrange(1, 4))) for _ in range(2)]
        found, _ = pieces(text, stops)

        # a stop ends the answer with the token that completes it, so the first to be complete counts
        whole = text.encode()
        for n in range(len(whole) + 1):
            seen = whole[:n].decode(errors="ignore")
            hits = [seen.find(stop) for stop in stops if stop in seen]
            if hits:
                text = seen[: min(hits)]
                break
        assert "".join(found) == text.strip(), (text, stops)


def test_a_beginning_of_a_stop_sequence_is_held_back():
    stream = TextStream(Bytes(), ("END",))
    assert [stream.push(token) for token in b"aENb"] == ["a", "", "", "ENb"]


def test_a_second_attempt_goes_on_where_the_first_had_come():
    found, _ = pieces("hello world", sent="hello")
    assert "".join(found) == " world"
    with pytest.raises(ServeError, match="differs"):
        pieces("goodbye", sent="hello")


def test_spaces_that_are_removed_later_are_not_handed_out():
    class Cleaning(Bytes):
        clean_up_tokenization_spaces = True

        def decode(self, ids, skip_special_tokens=True):
            return super().decode(ids).replace(" .", ".").replace(" n't", "n't")

    stream = TextStream(Cleaning())
    found = [stream.push(token) for token in b"it does n't . no"]
    assert "".join([*found, stream.finish()]) == "it doesn't. no" == stream.text


# ---------------------------------------------------------------- drawing


def counts(sampling, scores, draws=4000):
    generator = torch.Generator().manual_seed(sampling.seed)
    found = torch.zeros(len(scores))
    for _ in range(draws):
        found[draw(scores, sampling, generator)] += 1
    return found / draws


def test_tokens_are_drawn_by_their_probability():
    scores = torch.tensor([2.0, 1.0, 0.0, -1.0])
    for temperature in (0.5, 1.0, 2.0):
        expected = (scores / temperature).softmax(0)
        found = counts(Sampling(temperature, 1.0, 3), scores)
        assert torch.allclose(found, expected, atol=0.03)


def test_top_p_leaves_the_smallest_set_that_reaches_it():
    scores = torch.tensor([0.1, 0.5, 0.3, 0.1]).log()
    found = counts(Sampling(1.0, 0.7, 0), scores)
    assert found[0] == found[3] == 0
    assert torch.allclose(found[[1, 2]], torch.tensor([0.625, 0.375]), atol=0.03)
    assert counts(Sampling(1.0, 0.0, 0), scores, 50)[1] == 1
